"""The words from which the command `fill` generates names, titles and reviews."""

CATEGORIES = (
    "Adventure", "Art", "Biography", "Children", "Computing", "Cookery", "Crime", "Drama", "Economics",
    "Essays", "Fantasy", "Gardening", "History", "Humour", "Music", "Nature", "Philosophy", "Poetry",
    "Science", "Travel",
)  # fmt: skip

FIRST_NAMES = (
    "Ada", "Amara", "Bruno", "Chiara", "Dmitri", "Elif", "Emeka", "Farah", "Goran", "Hana", "Ines",
    "Jakob", "Kenji", "Lucia", "Mateo", "Nadia", "Olga", "Priya", "Ravi", "Sanna", "Tomas", "Uma",
    "Viktor", "Wanda", "Yusuf", "Zoe",
)  # fmt: skip

LAST_NAMES = (
    "Adeyemi", "Andersson", "Bianchi", "Castillo", "Demir", "Evans", "Fischer", "Garcia", "Haddad",
    "Ivanova", "Jensen", "Kowalski", "Laurent", "Moreau", "Nakamura", "Okafor", "Petrov", "Quinn",
    "Rossi", "Silva", "Tanaka", "Weber",
)  # fmt: skip

ADJECTIVES = (
    "Amber", "Borrowed", "Broken", "Crooked", "Distant", "Empty", "Forgotten", "Golden", "Hidden",
    "Hollow", "Last", "Little", "Lost", "Patient", "Quiet", "Restless", "Salt", "Second", "Silver",
    "Winter",
)  # fmt: skip

NOUNS = (
    "Archive", "Bridge", "Cartographer", "Clock", "Door", "Feast", "Garden", "Harbour", "House",
    "Island", "Lantern", "Letter", "Library", "Mirror", "Orchard", "River", "Sea", "Season", "Street",
    "Tower",
)  # fmt: skip

PLACES = (
    "Antwerp", "Bergen", "Cork", "Damascus", "Essex", "Fez", "Ghent", "Havana", "Izmir", "Kyoto",
    "Lagos", "Lisbon", "Minsk", "Naples", "Odesa", "Porto", "Riga", "Tartu", "Utrecht", "Vilnius",
)  # fmt: skip

# By number of stars.
OPINIONS = {
    1: ("I gave it to my neighbour. We no longer speak.", "The cover is the best of it."),
    2: ("A short story that lost its way home.", "I wanted to like this more than I did."),
    3: ("Good company for a long train ride.", "Starts well, ends well; bring patience for the middle."),
    4: ("I missed my stop because of it.", "Clever and warm, with one chapter too many."),
    5: ("I began again as soon as I had finished.", "Every page is worth its paper."),
}
