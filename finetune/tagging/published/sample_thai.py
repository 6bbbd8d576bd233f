"""The Thai sibling of the embedded sample: words apart, spaces as words of their own, for tests without downloads.

Patterns are cut at `|`; a space between two bars is a word. Types and tags are those of the English sample.
"""

# ruff: noqa: SIM905 (lists of words are read, and added to, as text)

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from finetune.tagging.formats.sentences import Sentences
from finetune.tagging.published.sample import SAMPLE_SEED, Grammar, Names, make_splits

THAI_SIZES = {"train": 1200, "validation": 200, "test": 300}

FIRST_NAMES = (
    "สมชาย สมหญิง วิชัย กมล มานี ปิติ ชูใจ วีระ สุดา ประภา นิดา ธนา อารี พิมพ์ รัตนา ชาติ ดวงใจ ศิริ บุญมี กิตติ "
    "มาลี สุรีย์ อนุชา วรรณา ปราณี เดชา จินดา พัชรี"
).split()
SURNAMES = (
    "ใจดี สุขสันต์ ทองคำ ศรีสุข วงศ์ไทย แสงทอง บุญเรือง พงษ์พันธ์ รักไทย จันทร์เพ็ญ มั่นคง เจริญผล สายทอง ชัยมงคล "
    "อ่อนหวาน พูลสวัสดิ์ แก้วมณี นาคสุข"
).split()
PLACES = (
    "กรุงเทพ เชียงใหม่ ภูเก็ต ขอนแก่น สงขลา ระยอง นครพนม ตรัง ลำปาง น่าน อุดรธานี ชลบุรี สตูล แพร่ ตาก พะเยา เลย "
    "ญี่ปุ่น ลาว เวียดนาม อินเดีย สิงคโปร์ ฝรั่งเศส"
).split()
BRANDS = "ดาวเหนือ ช้างทอง ฟ้าใส ก้าวไกล เพชรไทย สายลม ภูผา ตะวัน ไอทะเล รุ่งเรือง ม่านเมฆ ธารา นกฮูก ลูกโป่ง".split()
# Names of persons, provinces and firms alike.
AMBIGUOUS_NAMES = "สุรินทร์ ระนอง ปทุม อยุธยา สุพรรณ กาญจนา อุทัย ชัยนาท มงคล เพชร พิจิตร ลพบุรี".split()
COMMON_WORD_NAMES = "ฝน ฟ้า น้ำ ดาว แดง เมฆ ข้าว นก ไก่ ปลา".split()

MONTHS = "มกราคม กุมภาพันธ์ มีนาคม เมษายน พฤษภาคม มิถุนายน กรกฎาคม สิงหาคม กันยายน ตุลาคม พฤศจิกายน ธันวาคม".split()
WEEKDAYS = "จันทร์ อังคาร พุธ พฤหัสบดี ศุกร์ เสาร์ อาทิตย์".split()

ORDINARY = {
    "role": "ผู้จัดการ ประธาน โฆษก ครู ทนาย โค้ช หมอ นักข่าว เลขา".split(),
    "thing": "รถ กระเป๋า ร่ม หนังสือ บ้าน แว่น เสื้อ".split(),
    "gadget": "มือถือ กล้อง หูฟัง พัดลม ลำโพง ทีวี".split(),
    "event": "งาน ประชุม คอนเสิร์ต น้ำท่วม เลือกตั้ง ไฟไหม้".split(),
    "opinion": "ดี แย่ แพง ถูก สวย ช้า เยี่ยม".split(),
    "verb": "กล่าว บอก ยืนยัน เผย".split(),
    "trend": "เพิ่ม ลด ตก พุ่ง".split(),
    "number": "สอง ห้า 10 25 300".split(),
}

PATTERNS = tuple(
    line
    for line in """
{PER}| |{role}|ของ|{ORG}| |{verb}|ว่า|ยอด|ขาย|{trend}| |{number}| |เปอร์เซ็นต์
{PER}|{verb}|ว่า|จะ|ไป|{LOC}| |{DATE}
นาย|{PER}|เดินทาง|จาก|{LOC}|ไป|{LOC}
นางสาว|{PER}|ทำ|งาน|ที่|{ORG}
{PER}|และ|{PER}|พบ|กัน|ที่|{LOC}
{PER}|เกิด|ที่|{LOC}| |{DATE}
{ORG}|{verb}|ว่า|จะ|เปิด|สาขา|ที่|{LOC}| |{DATE}
{ORG}|ซื้อ|{ORG}| |ใน|ราคา| |{number}| |ล้าน|บาท
หุ้น|ของ|{ORG}|{trend}| |{DATE}
{ORG}|เปิด|ตัว|{PRODUCT}| |{DATE}
{ORG}|ชนะ|{ORG}|ที่|{LOC}
{LOC}|แพ้|{LOC}|ใน|นัด|ชิง
ซื้อ|{PRODUCT}|จาก|{ORG}|มา| |{opinion}|มาก
{PRODUCT}|กับ|{PRODUCT}| |อัน|ไหน|{opinion}|กว่า
แบต|ของ|{PRODUCT}|อยู่|ได้| |{number}| |ชั่วโมง
{PER}|รีวิว|{PRODUCT}|ว่า|{opinion}
{event}|ที่|{LOC}|{opinion}|มาก| |{DATE}
ฝน|ตก|ที่|{LOC}| |{DATE}
รถไฟ|จาก|{LOC}|ไป|{LOC}|ช้า
เมื่อ| |{DATE}| |{PER}|ไป|{LOC}
ฟ้า|ใส| |น้ำ|เย็น| |ดาว|เต็ม|ไป|หมด
นก|กับ|ไก่|กิน|ข้าว
{gadget}|ของ|เรา|{opinion}
{role}|ไม่|มา|{event}
{thing}|สี|แดง|หาย| |{DATE}
วันนี้|{opinion}|จัง|เลย| |555
ใคร|เห็น|{thing}|ของ|{PER}|บ้าง
""".strip().splitlines()
)
UNSEEN_PATTERNS = tuple(
    line
    for line in """
ตาม|ที่|{PER}|{verb}| |ยอด|ขาย|ของ|{ORG}|{trend}
{PER}| |ชาว|{LOC}| |ได้|งาน|ที่|{ORG}
{ORG}|ฟ้อง|{ORG}|เรื่อง|{PRODUCT}
{DATE}| |{LOC}|มี|{event}
รอ|{PRODUCT}|อยู่| |{PER}|มี|แล้ว
{event}|ของ|{role}|{opinion}
""".strip().splitlines()
)


def make_thai_sample(seed: int = SAMPLE_SEED, sizes: Mapping[str, int] = THAI_SIZES) -> dict[str, Sentences]:
    """The splits of the Thai sample, tagged in IOB2; joined without anything between, words make readable Thai."""
    names = Names(FIRST_NAMES, SURNAMES, PLACES, BRANDS, AMBIGUOUS_NAMES, COMMON_WORD_NAMES)
    return make_splits(THAI, names, seed, sizes)


def _person(names: Names, random: Random) -> str:
    first = random.choice(random.choice((names.first, names.first, names.common, names.ambiguous)))
    return first if random.random() < 0.4 else f"{first}| |{random.choice(names.last)}"


def _organization(names: Names, random: Random) -> str:
    kind = random.random()
    if kind < 0.35:
        return random.choice(random.choice((names.brand, names.ambiguous)))
    if kind < 0.65:
        return f"บริษัท| |{random.choice(names.brand)}"
    if kind < 0.85:
        return f"มหาวิทยาลัย|{_province(names, random)}"
    return f"สโมสร|{_province(names, random)}"


def _place(names: Names, random: Random) -> str:
    kind = random.choice(("", "", "จังหวัด|", "ถนน|", "เกาะ|"))
    return f"{kind}{_province(names, random)}"


def _province(names: Names, random: Random) -> str:
    return random.choice(random.choice((names.place, names.place, names.ambiguous)))


def _product(names: Names, random: Random) -> str:
    brand = random.choice(names.brand)
    return brand if random.random() < 0.3 else f"{brand}| |{random.choice(('โปร', 'มินิ', 'X', '7', 'พลัส'))}"


def _date(names: Names, random: Random) -> str:
    del names
    day, month, weekday = random.randint(1, 28), random.choice(MONTHS), random.choice(WEEKDAYS)
    year = random.randint(2540, 2567)
    forms = (f"วัน|{weekday}", f"วันที่| |{day}| |{month}", f"{day}| |{month}| |{year}", f"เดือน|{month}", "เมื่อวาน", "พรุ่งนี้")
    return random.choice(forms)


def _cut(pattern: str) -> list[str]:
    return pattern.split("|")


THAI = Grammar(
    patterns=PATTERNS,
    unseen_patterns=UNSEEN_PATTERNS,
    builders={"PER": _person, "ORG": _organization, "LOC": _place, "DATE": _date, "PRODUCT": _product},
    ordinary=ORDINARY,
    cut=_cut,
)
