"""URLs of the shop."""

from django.urls import path

from shop import views

urlpatterns = [
    path("", views.home, name="home"),
    path("category/<slug:slug>/", views.category, name="category"),
    path("author/<int:pk>/", views.author, name="author"),
    path("book/<int:pk>/", views.book, name="book"),
    path("book/<int:pk>/rating/", views.rating, name="rating"),
    path("book/<int:pk>/basket/", views.add_to_basket, name="add-to-basket"),
    path("basket/", views.basket, name="basket"),
    path("sitemap.txt", views.sitemap, name="sitemap"),
]
