"""Words that made-up books are filled with."""

FIRST_WORDS = (
    "Harbour", "Kauri", "Southern", "Bluff", "Tasman", "Ridgeway", "Golden Bay", "Summit", "Northland",
    "Willow", "Ember", "Pacific", "Copper", "Matai", "Fern", "Juniper", "Anchor", "Beacon", "Cedar", "Delta",
    "Fairfield", "Granite", "Hillside", "Ironbark", "Keystone", "Lakeside", "Meridian", "Orchard", "Pioneer",
    "Quayside",
)  # fmt: skip
SECOND_WORDS = (
    "Joinery", "Catering", "Logistics", "Cycles", "Dental", "Electrical", "Roasters", "Plumbing", "Vineyards",
    "Fitness", "Print", "Studios", "Dairy", "Motors", "Landscapes", "Books", "Robotics", "Bakery", "Textiles",
    "Marine", "Optics", "Timber", "Florists", "Events",
)  # fmt: skip
ODD_NAMES = (
    'O\'Brien & Sons "Fix-It"',
    "Müller Bäckerei GmbH",
    "株式会社さくら商事",
    "Łódź Transport Sp. z o.o.",
    "Café Noël / Crêperie",
    "Æther & Ångström A/S",
    "Back\\Slash <Systems>",
    "Ngāti Whare Tours",
)
FIRST_NAMES = ("Aroha", "Björn", "Chloé", "Dmitri", "Emily", "Farid", "Grace", "Hēmi", "Ines", "Jack", "Keiko", "Liam")
LAST_NAMES = (
    "Anderson",
    "Brown",
    "Castillo",
    "D'Souza",
    "Edwards",
    "Fraser",
    "Grießer",
    "Hughes",
    "Ito",
    "Jensen",
    "Ngata",
)
CITIES = ("Auckland", "Wellington", "Christchurch", "Dunedin", "Nelson", "Hamilton", "Tauranga", "Napier")
SERVICES = (
    "Consulting, half a day", "Monthly maintenance plan", "Delivery and installation on site", "Replacement parts",
    "Design work as agreed", "Annual software licence", "Catering for an event", "Hire of equipment, one week",
    "Bookkeeping services", "Timber, dressed, per metre", "Training workshop", "Emergency call-out",
)  # fmt: skip
