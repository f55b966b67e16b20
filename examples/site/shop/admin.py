"""The shop in Django's admin. Tables of thousands of rows are searched for, not listed in a drop-down."""

from django.contrib import admin

from shop.models import Author, Book, Category, Order, OrderLine, Review


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):
    """Shelves."""

    prepopulated_fields = {"slug": ("name",)}  # noqa: RUF012 (Django's way to configure)


@admin.register(Author)
class AuthorAdmin(admin.ModelAdmin):
    """Authors."""

    search_fields = ("name",)


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    """Books."""

    list_display = ("title", "author", "category", "price", "published")
    list_filter = ("category",)
    list_select_related = ("author", "category")
    search_fields = ("title", "author__name")
    autocomplete_fields = ("author",)


@admin.register(Review)
class ReviewAdmin(admin.ModelAdmin):
    """Reviews."""

    list_display = ("book", "stars", "reader", "written")
    list_filter = ("stars",)
    list_select_related = ("book",)
    autocomplete_fields = ("book",)


class OrderLineInline(admin.TabularInline):
    """The lines of an order, edited with it."""

    model = OrderLine
    extra = 0
    autocomplete_fields = ("book",)


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Orders."""

    list_display = ("customer", "placed")
    date_hierarchy = "placed"
    inlines = (OrderLineInline,)
