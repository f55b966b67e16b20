//! Shares a cache between processes: `cargo run --release -p nearcache --example shared`.
//!
//! Four worker processes serve pages and count the visits. Each page is rendered once: if two workers want it at the same time, one
//! renders it and the other waits. The counter has every visit of every worker.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod workers {
    use std::env;
    use std::error::Error;
    use std::path::Path;
    use std::process::{Child, Command};
    use std::time::Duration;

    use nearcache::shared::{NewEntry, SharedCache};

    const WORKERS: u64 = 4;
    const REQUESTS: u64 = 5_000;
    const PAGES: u64 = 200;
    const FILE_BYTES: u64 = 8 << 20;
    const TTL: Option<Duration> = Some(Duration::from_secs(60));
    /// The kind of the counter's value. `incr` adds to values of this kind only.
    const INTEGER: u8 = 1;

    type Outcome = Result<(), Box<dyn Error>>;

    /// Starts the workers, or is one, if it is started with the path of the cache.
    pub(crate) fn run() -> Outcome {
        if let Some(path) = env::args_os().nth(1) {
            return serve(Path::new(&path));
        }
        let directory = env::temp_dir().join(format!("nearcache-example-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let outcome = supervise(&directory.join("pages"));
        std::fs::remove_dir_all(&directory)?;
        outcome
    }

    fn supervise(path: &Path) -> Outcome {
        let cache = SharedCache::open(path, FILE_BYTES)?;
        cache.insert_entry(b"visits", NewEntry::new(&0_i64.to_ne_bytes()).kind(INTEGER))?;
        let start = || Command::new(env::current_exe()?).arg(path).spawn();
        let workers = (0..WORKERS).map(|_| start()).collect::<Result<Vec<Child>, _>>()?;
        for mut worker in workers {
            if !worker.wait()?.success() {
                return Err("a worker failed".into());
            }
        }
        let visits = cache.get(b"visits").ok_or("the counter was evicted")?;
        let visits = i64::from_ne_bytes(visits[..].try_into()?);
        let counts = cache.stats().counts;
        assert_eq!(visits, i64::try_from(WORKERS * REQUESTS)?);
        assert_eq!(counts.flights, PAGES);
        println!(
            "{visits} visits of {PAGES} pages by {WORKERS} processes, {} times rendered, {} waits",
            counts.flights, counts.waits
        );
        Ok(())
    }

    /// Serves requests as one worker process.
    fn serve(path: &Path) -> Outcome {
        let cache = SharedCache::open(path, FILE_BYTES)?;
        for request in 0..REQUESTS {
            let key = (request % PAGES).to_le_bytes();
            let page = cache.get_or_insert_with(&key, TTL, || render(request % PAGES))?;
            assert_eq!(page, render(request % PAGES));
            cache.incr(b"visits", 1, INTEGER)?;
        }
        Ok(())
    }

    /// Stands for an expensive function.
    fn render(page: u64) -> Vec<u8> {
        format!("<h1>Page {page}</h1>").into_bytes()
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    workers::run()
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn main() {
    println!("the shared cache needs 64-bit Linux");
}
