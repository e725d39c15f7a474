"""The page, in a real browser."""

import shutil
from pathlib import Path

import pytest

from adaptkit import Host
from tests.serve.running import running
from tests.serve.stores import TEXTS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
EVIL = "<img src=x onerror=document.title='owned'> Anna"


@pytest.fixture(scope="module")
def browser():
    found = next(
        (path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None
    )
    with playwright.sync_playwright() as driver:
        if found is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("no Chromium is installed (apt install chromium)")
        with driver.chromium.launch(executable_path=found, args=["--no-sandbox"]) as browser:
            yield browser


@pytest.fixture
def open_page(browser):
    """A page of a service; what its console says is an error."""
    opened = []

    def open_one(service, **settings):
        page = browser.new_page(**settings)
        page.set_default_timeout(15_000)
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        page.goto(service.url)
        opened.append((page, said))
        return page

    yield open_one
    for page, said in opened:
        assert [one for one in said if "Failed to load resource" not in one] == []
        page.close()


def ask(page, model: str, other: str = "", **fields: str) -> None:
    page.wait_for_selector("#adapters button")
    page.select_option("#first", model)
    page.select_option("#second", other)
    for name, text in fields.items():
        page.fill(f"#field-{name}", text)
    page.click("#send")
    page.wait_for_selector("#send:enabled")


def test_labels_are_shown_with_their_probabilities_side_by_side(readers, open_page):
    page = open_page(readers)
    ask(page, "intent", "topics", text=TEXTS[0])
    assert (
        page.text_content("#about")
        == "8 adapters over base, version " + readers.get("/info").json["version"]
    )
    for place, name in enumerate(("intent", "topics")):
        article = page.locator("#answers article").nth(place)
        assert article.locator("h3").text_content() == name
        scores = readers.host(TEXTS[0], name, top_k=4)[0].scores
        shown = dict(
            zip(
                article.locator("dt").all_text_contents(),
                article.locator("dd:not(.track)").all_text_contents(),
                strict=True,
            )
        )
        assert shown == {label: f"{100 * share:.1f} %" for label, share in scores.items()}
        [first, *_] = article.locator(".track i").all()
        whole = article.locator(".track").first.bounding_box()["width"]
        assert first.bounding_box()["width"] / whole == pytest.approx(
            max(scores.values()), abs=0.02
        )


def test_entities_and_answers_are_marked_where_they_are(readers, open_page):
    page = open_page(readers)
    text = "😀 Anna bought lamps in Rome"  # an emoji is two units in JavaScript
    ask(page, "names", text=text)
    entities = readers.host(text, "names")[0].entities
    shown = [mark.inner_text().split("\n")[0] for mark in page.locator("mark").all()]
    assert [one.removesuffix("person").strip() for one in shown] == [
        one["text"] for one in entities
    ]
    ask(page, "reader", question="Who?", context=text)
    [span] = readers.host({"question": "Who?", "context": text}, "reader")
    assert page.locator("mark").all_text_contents() == [span.text]


def test_scores_pairs_vectors_and_the_base(readers, open_page):
    page = open_page(readers)
    ask(page, "same", "stars", text=TEXTS[0], text_pair=TEXTS[1])
    pair = readers.host({"text": TEXTS[0], "text_pair": TEXTS[1]}, "same")[0].score
    shown = page.locator("#answers .text").all_text_contents()
    assert shown == [f"{pair:.3f}", f"{readers.host(TEXTS[0], 'stars')[0].score:.3f}"]
    ask(page, "search", "base", text=TEXTS[0])
    assert page.locator("#answers .text").first.text_content().startswith("32 numbers: ")
    assert page.locator("#answers .text").last.text_content().startswith("32 numbers: ")


def test_what_an_answer_rests_on(readers, open_page):
    page = open_page(readers)
    ask(page, "intent", text="My lamp broke 我的灯坏了")
    page.click("#explain")
    page.wait_for_selector("#answers [title]")
    assert page.locator("#answers dt").count() == 3  # the probabilities stay
    found = readers.post("/v1/explain", model="intent", input="My lamp broke 我的灯坏了").json
    words = page.locator("#answers [title]")
    assert words.all_text_contents() == ["My", "lamp", "broke", *"我的灯坏了"]
    for word, element in zip(found["words"], words.all(), strict=True):
        assert element.get_attribute("class") == ("for" if word["share"] >= 0 else "against")


def test_a_conversation_is_streamed_and_goes_on(writers, open_page):
    page = open_page(writers)
    ask(page, "helper", prompt=TEXTS[0])
    assert page.input_value("#field-prompt") == ""
    turns = page.locator(".turn").all_text_contents()
    talk = [{"role": "user", "content": TEXTS[0]}]
    expected = writers.host.generate(talk, "helper", max_new_tokens=64)[0]
    assert turns == [TEXTS[0], expected]
    ask(page, "helper", prompt="And now?")
    assert page.locator(".turn").all_text_contents()[:3] == [TEXTS[0], expected, "And now?"]
    page.click("#clear")
    assert page.locator(".turn").count() == 0


def test_errors_are_said_and_markup_is_text(readers, open_page):
    page = open_page(readers)
    ask(page, "intent", text=EVIL + "x" * 50_000)
    assert "at most 50,000 are read" in page.text_content("#problem")
    ask(page, "reader", question="?", context=EVIL)
    assert not page.is_visible("#problem")
    assert EVIL in page.text_content("#answers")
    assert page.title() == "adaptkit"
    page.fill("#field-context", "")
    page.click("#send")  # the browser itself asks for a text
    assert EVIL in page.text_content("#answers")


def test_a_service_that_is_gone_is_said(readers_store, open_page):
    with running(Host.from_store(readers_store)) as service:
        page = open_page(service)
        page.wait_for_selector("#adapters button")
    ask(page, "intent", text="x")
    assert "cannot be reached" in page.text_content("#problem")


def test_a_key_is_asked_for_and_kept(readers_store, open_page):
    with running(Host.from_store(readers_store), api_keys=("long-key-1",)) as service:
        page = open_page(service)
        page.wait_for_selector("#key-dialog[open]")
        page.fill("#key", "wrong-key-1")
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-problem:has-text('the key is wrong')")
        page.fill("#key", "long-key-1")
        page.keyboard.press("Enter")
        ask(page, "intent", text="x")
        assert page.locator("#answers dt").count() == 3


def test_the_keyboard_alone_and_a_phone(readers, open_page):
    page = open_page(readers, viewport={"width": 360, "height": 700})
    page.wait_for_selector("#adapters button")
    page.focus("#filter")
    page.keyboard.type("refund")
    assert page.locator("#adapters strong").all_text_contents() == ["intent"]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # the adapter is chosen, the text waits
    page.keyboard.type(TEXTS[0])
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#answers dt")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for button in page.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 44
