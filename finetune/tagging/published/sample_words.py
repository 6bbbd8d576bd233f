"""The words and sentence patterns of the embedded English sample, all written for it.

A pattern is cut at spaces. `{PER} {ORG} {LOC} {DATE} {PRODUCT}` become entities; other braces become ordinary words.
"""

# ruff: noqa: SIM905 (lists of words are read, and added to, as text)

from __future__ import annotations

FIRST_NAMES = (
    "Aaron Adriana Aiko Alan Alice Amara Andre Anita Anton Bao Beatriz Bella Carlos Cedric Chloe Clara Damian Daria Diego "
    "Dmitri Elena Elias Emily Farah Felix Fiona Gareth Giulia Hana Hassan Helen Ines Ivan Jamal Jasmine Jonas Julia Karim "
    "Keiko Kofi Lars Laura Leila Liam Lucia Marek Maria Mateo Mei Nadia Nina Noah Olga Omar Oscar Paula Pedro Priya Rahul "
    "Rosa Samir Sara Sofia Stefan Tara Tomas Uma Victor Wanda Yusuf Zoe"
).split()

SURNAMES = (
    "Abbott Adeyemi Almeida Andersen Bakker Barros Bennett Bianchi Bjork Castillo Chandra Chen Cohen Costa Dalton Delgado "
    "Dubois Eriksen Farouk Fischer Fontaine Galloway Garcia Gupta Haddad Hansen Ibrahim Ivanov Janssen Kapoor Keller Kimura "
    "Kowalski Larsen Lefevre Lindqvist Lopez Mahmoud Marino Mbeki McKenna Mendes Mishra Moreau Nakamura Ndiaye Novak Nunez "
    "Okafor Olsen Ortega Papadakis Park Petrov Quist Ramirez Rossi Sandoval Santos Schmidt Sharma Silva Suzuki Takeda "
    "Tanaka Torres Varga Vasquez Vogel Weber Yamada Zhang Zimmer"
).split()

PLACES = (
    "Accra Ankara Athens Bergen Bogota Boston Brno Cairo Calgary Cardiff Chile Cork Dakar Denmark Dublin Dundee Estonia "
    "Geneva Ghana Glasgow Hanoi Havana Helsinki Iceland Jakarta Kenya Kiel Kyoto Lagos Leeds Lima Lisbon Lyon Madrid Malmo "
    "Manila Mexico Milan Munich Nairobi Nepal Norway Oslo Perth Peru Poland Porto Prague Quebec Riga Rome Seoul Seville "
    "Sofia Spain Tampa Tunis Turin Utrecht Valencia Vienna Vietnam Warsaw Zagreb"
).split()

# Surnames, towns, first names and firms by the same name: only the sentence tells.
AMBIGUOUS_NAMES = (
    "Ashford Austin Bradford Bristol Camden Carlisle Carson Chelsea Chester Clifton Dallas Denver Devon Florence Georgia "
    "Hamilton Hudson Jackson Jordan Kent Kingston Lancaster Lincoln Logan Madison Marlow Milton Montgomery Oxford Paris "
    "Preston Raleigh Savannah Sheffield Stafford Sterling Sydney Trenton Victoria Warwick Washington Wellington Winchester"
).split()

# Names that are common words, above all once the capitals are gone.
COMMON_WORD_NAMES = (
    "April Art Banks Baker Bill Chase Cook Day Drew Faith Fields Frank Grace Grant Hope Hunter June Mark Mason May Page "
    "Pat Penny Price Reed Rich Rivers Rose Stone Summer Wells Will Woods Young"
).split()

BRANDS = (
    "Altair Arbor Aurora Beacon Borealis Cascade Cobalt Comet Corvid Crescent Delphi Ember Falcon Garnet Halcyon Harbor "
    "Helix Horizon Indigo Jupiter Kestrel Lantern Lumen Meridian Mistral Nimbus Northwind Obsidian Orbit Osprey Pioneer "
    "Polaris Quartz Raven Sierra Solstice Summit Tempest Titan Trident Vector Verity Vertex Zephyr"
).split()

COMPANY_ENDINGS = (
    "Inc|Group|Holdings|Labs|Systems|Airlines|Bank|Motors|Foods|Media|Energy|Robotics|Software|& Sons|& Co|Partners|Ltd"
).split("|")
PLACE_BODIES = (
    "City Council|United|Rovers|Symphony Orchestra|Chamber of Commerce|Police Department|General Hospital|Film Festival|"
    "Zoo|Rugby Club|Opera|Port Authority|Stock Exchange"
).split("|")
NAMED_BODIES = "Foundation|Institute|Museum|Academy|Trust|Law Firm|Gallery|Theatre Company".split("|")
PLACE_KINDS = "Street|Avenue|Airport|Bridge|Park|Valley|County|Beach|Station|Island".split("|")
PRODUCT_KINDS = "X|Pro|Mini|Max|Air|S2|X9|300|7|4K|Lite|Mark II|One|GT|Studio|OS".split("|")

WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

ORDINARY = {
    "role": (
        "spokesman|chief executive|director|coach|lawyer|mayor|editor|chairwoman|analyst|minister|trainer|founder|"
        "engineer|head of research|treasurer"
    ).split("|"),
    "relative": "brother|sister|mother|uncle|cousin|neighbour|old teacher|flatmate|boss|daughter".split("|"),
    "thing": "phone|bike|camera|guitar|jacket|report|painting|ticket|van|laptop|recipe|letter|parcel".split("|"),
    "gadget": "phone|camera|headset|printer|drone|laptop|speaker|watch|scooter|tablet|router|oven".split("|"),
    "place_noun": "station|market|harbour|library|office|old town|stadium|museum|hotel|airport|bakery".split("|"),
    "weather": "rain|snow|fog|heat|strong winds|a storm|sleet".split("|"),
    "feeling": "happy|tired|annoyed|proud|thrilled|worried|bored|relieved|furious".split("|"),
    "opinion": "great|terrible|overpriced|brilliant|disappointing|fine|amazing|average|broken".split("|"),
    "adjective": "new|old|small|expensive|quiet|strange|cheap|busy|famous|local".split("|"),
    "event": "merger|strike|election|concert|trial|fire|festival|flood|match|auction|conference".split("|"),
    "result": "profits|sales|shares|losses|costs|orders|exports".split("|"),
    "trend": "rose|fell|doubled|collapsed|recovered|slipped|climbed".split("|"),
    "percent": "two|five|nine|12|18|30|40|7.5|3.2".split("|"),
    "number": "two|three|five|12|20|40|150|2,000|11,500".split("|"),
    "score": "2-1|3-0|1-1|4-2|101-99|0-0".split("|"),
    "exclamation": "omg|lol|wow|ugh|finally|honestly|ok so|pls|yay|smh".split("|"),
    "person_verb": "said|told us|admitted|wrote|joked|testified|replied|insisted".split("|"),
    "company_verb": "announced|confirmed|denied|reported|warned|promised".split("|"),
}

PATTERNS = tuple(
    line.strip()
    for line in """
{PER} , {role} of {ORG} , {person_verb} that {result} {trend} by {percent} percent {DATE} .
{PER} {person_verb} that she had never been to {LOC} .
{PER} and {PER} met at the {place_noun} in {LOC} {DATE} .
{PER} will leave {ORG} to become {role} of {ORG} .
{PER} was born in {LOC} and grew up in {LOC} .
My {relative} {PER} lives near {LOC} .
My {relative} bought a {PRODUCT} {DATE} and sold it to {PER} .
Dr {PER} joined {ORG} as {role} {DATE} .
Mrs {PER} asked the {role} of {ORG} for a refund .
Police in {LOC} arrested {PER} {DATE} after the {event} .
The {role} , {PER} , did not answer our letters .
The trial of {PER} was set for {DATE} in {LOC} .
" We lost everything in the {event} , " {person_verb} {PER} , who runs a {adjective} bakery in {LOC} .
{ORG} {company_verb} that it would close its plant in {LOC} {DATE} .
{ORG} {company_verb} that {result} {trend} by {percent} percent in the quarter to {DATE} .
{ORG} will buy {ORG} for {number} million dollars .
{ORG} hired {number} people in {LOC} {DATE} .
{ORG} named {PER} as its {adjective} {role} .
{ORG} and {ORG} beat their forecasts as {result} {trend} .
{ORG} launched the {PRODUCT} in {LOC} {DATE} .
Shares in {ORG} {trend} after the {event} in {LOC} .
The {role} of {ORG} flew to {LOC} to talk about the {event} .
Workers at {ORG} went on strike {DATE} .
{ORG} recalled the {PRODUCT} because its battery caught fire .
{LOC} lost {score} to {LOC} in the final {DATE} .
{ORG} beat {ORG} {score} in {LOC} .
{weather} closed the road between {LOC} and {LOC} {DATE} .
The flight from {LOC} to {LOC} was late because of {weather} .
Thousands marched through {LOC} {DATE} against the {event} .
The {event} in {LOC} drew {number} visitors from {LOC} .
We spent {DATE} in {LOC} and saw the {adjective} {place_noun} .
The train to {LOC} stops in {LOC} .
Is the {PRODUCT} better than the {PRODUCT} ?
The battery of my {PRODUCT} lasts {number} hours .
I returned the {PRODUCT} {DATE} : the sound was {opinion} .
The new {PRODUCT} is {opinion} , and it costs {number} dollars .
{PER} reviewed the {PRODUCT} for {ORG} and called it {opinion} .
Can anyone fix a {PRODUCT} in {LOC} ?
the {PRODUCT} i got from {PER} is {opinion}
{exclamation} {PER} is in {LOC} again
{exclamation} {ORG} cancelled my order , {opinion} service
{exclamation} just landed in {LOC} with {PER}
so {feeling} about the {PRODUCT} , thanks {ORG}
{PER} u were {opinion} on stage {DATE} !
meeting {PER} at the {place_noun} {DATE}
{ORG} pls answer , my {gadget} is {opinion}
RT {PER} : the {event} in {LOC} was {opinion}
{exclamation} my {gadget} died {DATE}
i will never fly to {LOC} with {ORG} again
The {thing} on the table belongs to {PER} .
The {adjective} {thing} was found at the {place_noun} .
They will mark the {adjective} {thing} by hand , the {role} {person_verb} .
The grant was too small to cover the {adjective} {thing} and the {gadget} .
She gave my {relative} a rose and a {adjective} stone from the river banks near the {place_noun} .
You may cook at the {adjective} {place_noun} , but not during the {event} .
I hope the price of the {adjective} {gadget} will drop by {percent} percent .
A {adjective} baker and a mason walked through {weather} to the {place_noun} .
The bill for the {gadget} was paid by the {role} {DATE} .
My {relative} drew a map of the wells , the fields and the {adjective} {place_noun} .
The {role} is rich , young and {feeling} , and so is my {relative} .
To be frank , the {event} at the {place_noun} was {opinion} .
The hunter turned the page , said grace and sold the {adjective} {thing} .
The {role} and my {relative} were {feeling} about the {event} .
Nobody saw the {adjective} {thing} {DATE} .
How much is the {adjective} {gadget} my {relative} broke at the {place_noun} ?
{exclamation} that {event} at the {place_noun} was {opinion}
The {event} was set for {DATE} .
{number} people were hurt in the {event} {DATE} .
The {place_noun} was closed {DATE} , the {role} {person_verb} .
""".splitlines()
    if line.strip()
)

# Only in validation and test: the patterns of real text are never all seen in training.
UNSEEN_PATTERNS = tuple(
    line.strip()
    for line in """
According to {PER} , {result} at {ORG} {trend} {DATE} .
{PER} of {LOC} won the {event} {DATE} .
{PER} , {number} , has worked for {ORG} since {DATE} .
Asked about the {event} , {PER} blamed {ORG} .
{ORG} , based in {LOC} , makes the {PRODUCT} .
{ORG} sued {ORG} over the {PRODUCT} {DATE} .
A {role} for {ORG} {person_verb} the {event} was {opinion} .
{LOC} 's {place_noun} was closed {DATE} .
{DATE} , {PER} drove from {LOC} to {LOC} in the {weather} .
Fans of {ORG} waited outside {PER} 's hotel .
{PER} swapped the {PRODUCT} for a {adjective} {gadget} .
anyone else waiting for the {PRODUCT} ? {PER} already has one
{exclamation} {LOC} is {opinion} {DATE}
heading to {LOC} {DATE} , hope {PER} comes too
{ORG} support is {opinion} , still no {gadget}
Both {PER} and the {role} of {ORG} were {feeling} .
The {adjective} {thing} from {LOC} broke {DATE} .
there is no {adjective} {gadget} at the {place_noun} , {exclamation}
Most of the {thing} was ruined by {weather} during the {event} .
It was {PER} who took the {thing} , not the {role} .
Mark the page before you chase the {role} about the {thing} .
The young cook will pat the dough and hope that the {gadget} is {opinion} .
""".splitlines()
    if line.strip()
)
