"""The pages of the shop. Each shows a different way to use the cache:

- `home`, `author`: `get_or_set` around slow aggregates
- `category`: the whole page with `cache_page`
- `book`: a template fragment with `{% cache %}`, a counter with `incr`, the session, `get_many`
- `rating`: `aget` and `aset` in an async view
- `basket`: the session alone
"""

from operator import itemgetter

from django.core.cache import cache
from django.core.paginator import Paginator
from django.db.models import F
from django.http import HttpResponse, JsonResponse
from django.shortcuts import aget_object_or_404, get_object_or_404, redirect, render
from django.views.decorators.cache import cache_page
from django.views.decorators.http import require_GET, require_POST

from shop import visitor_state
from shop.models import RATING, Author, Book, Category

FIVE_MINUTES = 5 * 60
AN_HOUR = 60 * 60

BOOKS_PER_PAGE = 20
SORTINGS = {
    "title": ("title", "pk"),
    "price": ("price", "title"),
    "stars": (F("stars").desc(nulls_last=True), "title"),
}


@require_GET
def home(request):
    bestsellers = cache.get_or_set("bestsellers", lambda: top(Book.objects.all()), FIVE_MINUTES)
    categories = cache.get_or_set("categories", lambda: list(Category.objects.all()), AN_HOUR)
    return render(request, "shop/home.html", {"bestsellers": bestsellers, "categories": categories})


@require_GET
@cache_page(FIVE_MINUTES)
def category(request, slug):
    shelf = get_object_or_404(Category, slug=slug)
    sorting = request.GET.get("sort")
    books = shelf.books.with_stars().select_related("author")
    books = books.order_by(*SORTINGS.get(sorting, SORTINGS["title"]))
    context = {
        "category": shelf,
        "sorting": sorting if sorting in SORTINGS else "title",
        "sortings": SORTINGS,
        "page": Paginator(books, BOOKS_PER_PAGE).get_page(request.GET.get("page")),
        # All pages of the category share this list, so it has a separate entry.
        "bestsellers": cache.get_or_set(f"bestsellers:{slug}", lambda: top(shelf.books), FIVE_MINUTES),
    }
    return render(request, "shop/category.html", context)


@require_GET
def author(request, pk):
    person = get_object_or_404(Author, pk=pk)
    context = {
        "author": person,
        "figures": cache.get_or_set(f"author-figures:{pk}", person.figures, FIVE_MINUTES),
        "bestsellers": cache.get_or_set(f"author-books:{pk}", lambda: top(person.books), FIVE_MINUTES),
    }
    return render(request, "shop/author.html", context)


@require_GET
def book(request, pk):
    # The book is always read from the database, because `updated` is part of the key of the fragment.
    title = get_object_or_404(Book.objects.select_related("author", "category"), pk=pk)
    context = {
        "book": title,
        "views": visitor_state.count_view(pk),
        "recent": visitor_state.book_cards(visitor_state.add_recent_book(request.session, pk)),
    }
    return render(request, "shop/book.html", context)


@require_GET
async def rating(request, pk):
    """Returns the rating of a book as JSON, for scripts in other pages."""
    key = f"rating:{pk}"
    found = await cache.aget(key)
    if found is None:
        title = await aget_object_or_404(Book, pk=pk)
        found = await title.reviews.aaggregate(**RATING)
        await cache.aset(key, found, FIVE_MINUTES)
    return JsonResponse(found)


@require_POST
def add_to_basket(request, pk):
    title = get_object_or_404(Book.objects.only("pk"), pk=pk)
    visitor_state.add_to_basket(request.session, title.pk)
    return redirect("basket")


@require_GET
def basket(request):
    copies = visitor_state.basket(request.session)
    books = Book.objects.filter(pk__in=copies).select_related("author")
    lines = [(title, copies[title.pk], title.price * copies[title.pk]) for title in books]
    return render(request, "shop/basket.html", {"lines": lines, "total": sum(price for *_, price in lines)})


@require_GET
def sitemap(request):
    """Returns the paths of all pages, one on each line; of each kind, the most popular first."""
    paths = ["/"]
    lists = []
    for shelf in Category.objects.order_by("pk"):
        pages = Paginator(shelf.books.all(), BOOKS_PER_PAGE).page_range
        lists += ((n, f"{shelf.get_absolute_url()}?sort={sort}&page={n}") for sort in SORTINGS for n in pages)
    paths += (path for _, path in sorted(lists, key=itemgetter(0)))
    paths += (person.get_absolute_url() for person in Author.objects.only("pk").order_by("pk"))
    paths += (title.get_absolute_url() for title in Book.objects.only("pk").order_by("pk"))
    return HttpResponse("\n".join(paths), content_type="text/plain")


def top(books):
    """Returns the ten bestsellers among `books` as dicts, which are cheaper to cache than model instances."""
    return list(books.bestsellers().values("pk", "title", "author__name", "price", "sold")[:10])
