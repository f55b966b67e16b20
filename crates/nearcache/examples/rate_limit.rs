//! Limits the requests of each client over all processes: `cargo run --release -p nearcache --example rate_limit`.
//!
//! Four worker processes serve requests. A client may make a hundred a minute, whichever workers they reach. The counter of a client starts at
//! its first request and expires a minute later, so nothing has to reset it.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod workers {
    use std::env;
    use std::error::Error;
    use std::path::Path;
    use std::process::{Child, Command};
    use std::time::Duration;

    use nearcache::shared::{Incremented, SharedCache, SharedError};

    const WORKERS: u64 = 4;
    const REQUESTS: u64 = 5_000;
    const CLIENTS: u64 = 20;
    const FILE_BYTES: u64 = 1 << 20;
    const LIMIT: i64 = 100;
    const WINDOW: Option<Duration> = Some(Duration::from_secs(60));
    /// The kind of the counters' values.
    const INTEGER: u8 = 1;

    type Outcome = Result<(), Box<dyn Error>>;

    /// Starts the workers, or is one, if it is started with the path of the cache.
    pub(crate) fn run() -> Outcome {
        if let Some(path) = env::args_os().nth(1) {
            return serve(Path::new(&path));
        }
        let directory = env::temp_dir().join(format!("nearcache-limits-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let outcome = supervise(&directory.join("limits"));
        std::fs::remove_dir_all(&directory)?;
        outcome
    }

    fn supervise(path: &Path) -> Outcome {
        let cache = SharedCache::open(path, FILE_BYTES)?;
        let start = || Command::new(env::current_exe()?).arg(path).spawn();
        let workers = (0..WORKERS).map(|_| start()).collect::<Result<Vec<Child>, _>>()?;
        for mut worker in workers {
            if !worker.wait()?.success() {
                return Err("a worker failed".into());
            }
        }
        let served = cache.incr_or_init(b"served", 0, INTEGER, None)?;
        assert_eq!(served, Incremented::Value(i64::try_from(CLIENTS)? * LIMIT));
        println!(
            "{} requests of {CLIENTS} clients to {WORKERS} processes; {LIMIT} of each client were served",
            WORKERS * REQUESTS
        );
        Ok(())
    }

    /// Serves requests as one worker process.
    fn serve(path: &Path) -> Outcome {
        let cache = SharedCache::open(path, FILE_BYTES)?;
        for request in 0..REQUESTS {
            let client = (request % CLIENTS).to_le_bytes();
            if is_allowed(&cache, &client)? {
                cache.incr_or_init(b"served", 1, INTEGER, None)?;
            }
        }
        Ok(())
    }

    /// Counts a request, and returns whether its client is within the limit.
    fn is_allowed(cache: &SharedCache, client: &[u8]) -> Result<bool, SharedError> {
        let counted = cache.incr_or_init(client, 1, INTEGER, WINDOW)?;
        Ok(matches!(counted, Incremented::Value(requests) if requests <= LIMIT))
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
