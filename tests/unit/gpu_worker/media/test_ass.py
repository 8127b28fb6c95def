"""Captions in the wild: formats, encodings, tags, and tricks."""

from __future__ import annotations

import pysubs2
import pytest

from gpu_worker.media import ass, line_breaks
from gpu_worker.media.captions_order import Look
from gpu_worker.media.refusal import Refused

SRT = "1\n00:00:01,000 --> 00:00:02,500\n{text}\n\n2\n00:00:03,000 --> 00:00:04,000\nsecond\n"


def convert(data: bytes | str) -> pysubs2.SSAFile:
    raw = data.encode() if isinstance(data, str) else data
    return pysubs2.SSAFile.from_string(ass.to_ass(ass.parse(raw), 1920, 1080, Look()))


def first_text(data: bytes | str) -> str:
    return convert(data)[0].text


def test_an_srt_keeps_its_times_and_lines() -> None:
    events = convert(SRT.format(text="one\ntwo")).events
    assert [(e.start, e.end, e.text) for e in events] == [
        (1000, 2500, r"one\Ntwo"),
        (3000, 4000, "second"),
    ]


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_line_ends_of_other_systems(newline: str) -> None:
    events = convert(SRT.format(text="one\ntwo").replace("\n", newline)).events
    assert [e.text for e in events] == [r"one\Ntwo", "second"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Où est passé l'été ? Ça alors, garçon !", "cp1252"),
        ("Ela não está à espera do avião; é tão fácil, não é? Corações", "cp1252"),
        ("El niño comió piñas mañana ¿verdad?", "cp1252"),
        ("Größe der Straße, schöne Mädchen, „Zitat“", "cp1252"),
        ("Rødgrød med fløde på, kære æble", "cp1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250"),
        ("Árvíztűrő tükörfúrógép és a nagyszülők", "cp1250"),
        ("Şöyle güzel bir gün, İstanbul'da ağaçlar üşür", "cp1254"),
        ("Καλημέρα σας, τι κάνετε σήμερα;", "cp1253"),
        ("สวัสดีครับ ยินดีต้อนรับ", "cp874"),
        ("Zażółć gęślą jaźń, proszę państwa", "cp1250"),
        ("Съешь ещё этих мягких французских булок", "cp1251"),
        ("مرحبا بكم في هذا الفيلم الجميل يا أصدقائي", "cp1256"),
        ("שלום לכולם וברוכים הבאים לסרט הזה", "cp1255"),
        ("これは日本語の字幕です。よろしくお願いします。", "cp932"),
        ("这是中文字幕, 希望你们喜欢这部电影。", "gb18030"),
        ("안녕하세요 여러분 이것은 한국어 자막입니다", "cp949"),
        ("naïve café — “quoted”", "utf-8"),
        ("naïve café — “quoted”", "utf-8-sig"),
        ("日本語 and עברית", "utf-16"),
    ],
)
def test_the_encoding_is_found(text: str, encoding: str) -> None:
    lines = "".join(f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\n{text}\n\n" for n in range(1, 12))
    assert first_text(lines.encode(encoding)).replace(line_breaks.PLACE, "") == text


@pytest.mark.parametrize(
    ("written", "drawn"),
    [
        ("<i>slanted</i>", r"{\i1}slanted{\i}"),
        ("<B>loud</B>", r"{\b1}loud{\b}"),
        ('<font color="#ff8000">warm</font>', r"{\c&H0080FF&}warm{\c}"),
        ("<font color='red'>red</font>", r"{\c&H0000FF&}red{\c}"),
        ('<font face="Comic Sans" size=90>plain</font>', r"{\c}plain{\c}"),
        ("<blink>still</blink>", "still"),
        (r"{\an8}on top", r"{\an8}on top"),
        ("3 < 4 and 5 > 4", "3 < 4 and 5 > 4"),
        (r"{\pos(1,2)\fs90}words", "words"),
        ("{sighs} well", "(sighs) well"),
    ],
)
def test_the_usual_tags_work(written: str, drawn: str) -> None:
    assert first_text(SRT.format(text=written)) == drawn


def test_after_a_tag_the_style_is_what_it_was() -> None:
    """Which is bold by itself: what follows a bold word is as bold as what comes before."""
    captions = ass.parse(SRT.format(text="<b>loud</b> and <i>slanted</i> alike").encode())
    drawn = ass.to_ass(captions, 1920, 1080, Look())
    assert r"{\b1}loud{\b} and {\i1}slanted{\i} alike" in drawn


@pytest.mark.parametrize(
    "trick",
    [
        r"{\p1}m 0 0 l 9999 0 9999 9999 0 9999{\p0}",
        r"{\fs9999}huge",
        r"{\pos(0,0)\fscx10000\blur200}x",
        r"{\an8\p1}m 0 0 l 1 1",
        "{\\p1\nm 0 0}",
        "<font size={\\p1}>x",
        "\ue000\\p1\ue001m 0 0",
    ],
)
def test_strangers_cannot_give_libass_orders(trick: str) -> None:
    text = first_text(SRT.format(text=trick))
    for order in (r"\p1", r"\fs", r"\pos", r"\blur", r"\fscx"):
        for block in text.split("{")[1:]:
            assert order not in block.split("}")[0]


VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue { color: lime }

NOTE the 00:00 note
is not shown

intro
00:01.000 --> 00:02.500 align:start line:0
<v Ann>Tom &amp; <c.loud>Jerry</c></v> &lt;i&gt;

NOTE another

chapter two
01:00:03.000 --> 01:00:04.000
<00:00:03.200><c> word</c><00:00:03.500> by word
"""


def test_webvtt_shows_its_cues_and_nothing_else() -> None:
    events = convert(VTT).events
    assert [(e.start, e.end, e.text.strip()) for e in events] == [
        (1000, 2500, "Tom & Jerry <i>"),
        (3_603_000, 3_604_000, "word by word"),
    ]


def test_an_entity_is_no_way_around_the_tags() -> None:
    cue = "WEBVTT\n\n00:01.000 --> 00:02.000\n&#123;\\p1&#125;m 0 0\n"
    assert "{" not in first_text(cue)


ASS = r"""[Script Info]
ScriptType: v4.00+
PlayResX: 640
PlayResY: 360

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Sign,Noto Sans,33,&H0000FFFF,&H000000FF,&H00000000,&H00000000,0,0,0,0,100,100,0,0,1,2,0,8,10,10,10,1

[Fonts]
fontname: evil.ttf
AAAA

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.00,Sign,,0,0,0,,{\pos(320,180)}placed
"""  # noqa: E501


def test_ass_keeps_its_own_style_but_brings_no_fonts() -> None:
    text = ass.to_ass(ass.parse(ASS.encode()), 1920, 1080, Look())
    subtitles = pysubs2.SSAFile.from_string(text)
    assert subtitles.styles["Sign"].fontsize == 33
    assert subtitles.info["PlayResY"] == "360"
    assert subtitles[0].text == r"{\pos(320,180)}placed"
    assert "evil.ttf" not in text


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1080, 1920), (320, 180)])
def test_captions_are_as_large_as_the_picture_asks(width: int, height: int) -> None:
    subtitles = pysubs2.SSAFile.from_string(
        ass.to_ass(ass.parse(SRT.format(text="x").encode()), width, height, Look())
    )
    assert subtitles.info["PlayResY"] == str(height)
    part = subtitles.styles["Default"].fontsize / min(width, height)
    assert part == pytest.approx(58 / 1080, rel=0.01)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html><body>404 not found</body></html>",
        b"just a letter to a friend",
        bytes(range(256)) * 40,
        b"\x89PNG\r\n\x1a\n" + bytes(500),
        b"WEBVTT\n\nno times here",
        b"\xff\xfe\x00\xd8\x00\xd8",
    ],
)
def test_what_is_no_caption_file_is_refused(data: bytes) -> None:
    with pytest.raises(Refused) as refused:
        ass.parse(data)
    assert refused.value.reason == "SUBTITLES_UNREADABLE"


def test_captions_without_words_are_refused() -> None:
    with pytest.raises(Refused) as refused:
        ass.parse(b"1\n00:00:01,000 --> 00:00:02,000\n<i></i>\n")
    assert refused.value.reason == "SUBTITLES_EMPTY"


def test_too_long_a_file_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        ass.parse(b"x" * (ass.MAX_BYTES + 1))
    assert refused.value.reason == "SUBTITLES_TOO_LARGE"
