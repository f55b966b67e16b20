"""The admin site of the shop. Foreign keys to large tables use autocomplete fields, not drop-down lists."""

from django.contrib import admin

from shop.models import Author, Book, Category, Order, OrderLine, Review


@admin.register(Category)
class CategoryAdmin(admin.ModelAdmin):
    """Administers categories."""

    prepopulated_fields = {"slug": ("name",)}  # noqa: RUF012 (Django's way to configure)


@admin.register(Author)
class AuthorAdmin(admin.ModelAdmin):
    """Administers authors."""

    search_fields = ("name",)


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    """Administers books."""

    list_display = ("title", "author", "category", "price", "published")
    list_filter = ("category",)
    list_select_related = ("author", "category")
    search_fields = ("title", "author__name")
    autocomplete_fields = ("author",)


@admin.register(Review)
class ReviewAdmin(admin.ModelAdmin):
    """Administers reviews."""

    list_display = ("book", "stars", "reader", "written")
    list_filter = ("stars",)
    list_select_related = ("book",)
    autocomplete_fields = ("book",)


class OrderLineInline(admin.TabularInline):
    """Edits the lines of an order on its page."""

    model = OrderLine
    extra = 0
    autocomplete_fields = ("book",)


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """Administers orders."""

    list_display = ("customer", "placed")
    date_hierarchy = "placed"
    inlines = (OrderLineInline,)
