"""Names of people, schools and courses, with accents, quotes and symbols as real ones have."""

from itertools import product

FIRST_NAMES = (
    *(
        "Ana",
        "Ben",
        "Chloé",
        "Dmitri",
        "Élodie",
        "François",
        "Grace",
        "Hiroshi",
        "Inés",
        "Jürgen",
        "Kwame",
        "Lucía",
    ),
    *(
        "Mehmet",
        "Nguyễn",
        "Oisín",
        "Priya",
        "Quinn",
        "Rosa",
        "Søren",
        "Tomáš",
        "Uma",
        "Víctor",
        "Wanda",
        "Xiu",
    ),
    *("Yusuf", "Zoë", "明", "Ольга"),
)
LAST_NAMES = (
    *(
        "Anderson",
        "Brontë",
        "Castañeda",
        "D'Angelo",
        "Easton",
        "Fernández",
        "Güler",
        "Hansen",
        "Ibrahim",
        "Jones",
    ),
    *(
        "Kovač",
        "L'Écuyer",
        "Müller",
        "Nowak",
        "O'Brien",
        "Pérez",
        "Quist",
        "Rossi",
        "Smith-Wesson",
        "Tran",
        "Urbański",
    ),
    *("van der Berg", "Wójcik", "Xu", "Young", "Žižek", "李"),
)
ABOUT = (
    None,
    "I take notes so you don't have to 📝",
    'Ask me about "The Wealth of Nations".',
    "Pre-med ☕️ C:\\notes\\final",
    "",
)
SUBJECTS = (
    *(
        "Accounting",
        "Algebra",
        "Anatomy",
        "Anthropology",
        "Art History",
        "Biology",
        "Calculus",
        "Chemistry",
    ),
    *(
        "Computer Science",
        "Economics",
        "English",
        "French",
        "Geology",
        "History",
        "Law",
        "Linguistics",
        "Marketing",
    ),
    *(
        "Music Theory",
        "Nursing",
        "Philosophy",
        "Physics",
        "Political Science",
        "Psychology",
        "Sociology",
        "Spanish",
    ),
    *("Statistics", "Theatre"),
)
COURSE_TITLES = (
    *(
        "Introduction to {}",
        "{} I",
        "{} II",
        "Principles of {}",
        "Topics in {}",
        "Advanced {}",
        "{} Seminar",
    ),
    *("Honors {}", "{} for Non-Majors", 'What Is "{}"?'),
)
KINDS = ("notes", "study guide", "flashcards", "video")
PRODUCT_TITLES = (
    *(
        "{} final exam {}",
        "{} {}, week by week",
        "Prof. O'Neill's {} {}",
        '"Everything" on {}: {} 🎓',
        "{} {} 100% pass",
    ),
    *("Mi {} {} – ¡aprobado!", "{} {} \\ midterm"),
)
PAYMENT_SOURCES = ("Credit card", "PayPal", "Account balance")
AFFILIATES = ("Campus Ambassadors", "StudyBuddy's", "Café Étudiant", "Greek Life")
_FIRST_SCHOOLS = (
    ("Abilene Christian University", "Abilene", "TX", "US"),
    ("Academy of Art University", "San Francisco", "CA", "US"),
    ("Adams State College", "Alamosa", "CO", "US"),
)
_STATES = {
    "AL": ("Auburn", "Huntsville", "Mobile"),
    "AZ": ("Flagstaff", "Mesa", "Tucson"),
    "CA": ("Berkeley", "Fresno", "Irvine", "La Jolla", "San José", "Santa Cruz"),
    "CO": ("Boulder", "Durango", "Greeley"),
    "CT": ("Hartford", "New Haven", "Storrs"),
    "FL": ("Coral Gables", "Gainesville", "Orlando", "Tampa"),
    "GA": ("Athens", "Macon", "Savannah"),
    "IL": ("Carbondale", "Evanston", "Peoria"),
    "IN": ("Bloomington", "Muncie", "Notre Dame"),
    "KY": ("Berea", "Lexington", "Murray"),
    "LA": ("Baton Rouge", "Lafayette", "Ruston"),
    "MA": ("Amherst", "Lowell", "Medford", "Worcester"),
    "MD": ("Frostburg", "Salisbury", "Towson"),
    "MI": ("Ann Arbor", "Flint", "Kalamazoo"),
    "MN": ("Duluth", "Mankato", "Northfield"),
    "MO": ("Kirksville", "Rolla", "St. Joseph"),
    "NC": ("Boone", "Durham", "Greensboro"),
    "NJ": ("Glassboro", "Montclair", "Princeton"),
    "NY": ("Buffalo", "Ithaca", "Oneonta", "Plattsburgh", "Troy"),
    "OH": ("Akron", "Dayton", "Kent", "Oxford"),
    "OR": ("Corvallis", "Eugene", "Forest Grove"),
    "PA": ("Bethlehem", "Coeur d'Alene Park", "Lewisburg", "Scranton"),
    "SC": ("Clemson", "Spartanburg", "Rock Hill"),
    "TN": ("Cookeville", "Knoxville", "Murfreesboro"),
    "TX": ("Denton", "El Paso", "Lubbock", "San Ángelo", "Waco"),
    "VA": ("Blacksburg", "Fredericksburg", "Williamsburg"),
    "WA": ("Bellingham", "Pullman", "Walla Walla"),
    "WI": ("Eau Claire", "La Crosse", "Oshkosh"),
}
_ABROAD = {
    "CA": ("Montréal", "Québec", "Saskatoon"),
    "CH": ("Genève", "Zürich"),
    "BR": ("São Paulo",),
    "DE": ("Göttingen", "Tübingen"),
    "IE": ("Dún Laoghaire",),
    "MX": ("Mérida", "Querétaro"),
}
_SCHOOL_NAMES = (
    *(
        "{} University",
        "{} College",
        "{} Community College",
        "{} State University",
        "{} Institute of Technology",
    ),
    *(
        "{} Technical College",
        "{} Christian College",
        "College of {}",
        "University of {}",
        "{} School of Nursing",
    ),
    *(
        "{} School of Law",
        "{} Conservatory of Music",
        "{} Business School",
        "{} Polytechnic",
        "St. Mary's of {}",
    ),
    *("{} Academy of Art", '{} "Open" University'),
)


def schools(count: int) -> list[tuple[str, str, str | None, str]]:
    """Return so many schools in alphabetical order, each as name, city, state and country.

    The first three are always the same.
    """
    towns: list[tuple[str, str | None, str]] = [
        (town, state, "US") for state in _STATES for town in _STATES[state]
    ]
    towns += [(town, None, country) for country in _ABROAD for town in _ABROAD[country]]
    every = sorted(
        (name.format(town), town, state, country) for name, (town, state, country) in _pairs(towns)
    )
    # Only schools after the first three in the alphabet, so that the list stays sorted.
    following = [school for school in every if school[0] > _FIRST_SCHOOLS[-1][0]]
    return [*_FIRST_SCHOOLS, *following[: count - len(_FIRST_SCHOOLS)]]


def _pairs(
    towns: list[tuple[str, str | None, str]],
) -> list[tuple[str, tuple[str, str | None, str]]]:
    return list(product(_SCHOOL_NAMES, towns))
