"""Accounts, their wallets, keys and templates, in a real browser and with the real API behind it."""

import re

import httpx
from playwright.sync_api import Page, expect

from tests.browser.conftest import SMALL, Console, System, fits, shot

_ARABIC = "رمز الدخول إلى حسابك في متجر الصحراء هو {code} ولا تعطه لأحد من الناس ."


def send(system: System, key: str, phone: str = "+213661299001") -> httpx.Response:
    """A code over GateWire's API."""
    return system.stack.http.post("/api/v1/send-otp", json={"phone": phone}, headers={"Authorization": f"Bearer {key}"})


def make(console: Console, name: str) -> str:
    """A new account by the page's form; its key."""
    page = console.open("/console/accounts")
    form = page.locator("section", has_text="New account")
    form.get_by_label("Name").fill(name)
    form.get_by_label("Balance").fill("1,250.50")
    form.get_by_label("Price of a message").fill("5")
    form.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{name} is made")
    return page.get_by_label("API key").input_value()


def test_make_use_and_revoke(console: Console) -> None:
    """The key is shown once, works with the real API at once, and is refused once it is revoked."""
    key = make(console, "Tassili Telecom")
    page = console.page

    assert 200 == send(console.system, key).status_code
    assert key not in page.url
    assert "no-store" in str(page.request.get(f"{console.url}/console/accounts").headers["cache-control"])
    page.get_by_role("link", name="to the account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Tassili Telecom")
    expect(page.locator(".figures")).to_contain_text("1,245.50 DZD")
    assert key not in page.content()
    shot(page, "account")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#keys tr", has_text="first").get_by_role("button", name="Revoke").click()
    expect(page.locator(".flash")).to_contain_text("revoked")
    expect(page.locator("#keys")).to_contain_text("It has no key")
    assert 401 == send(console.system, key).status_code
    page.get_by_label("Label of a new key").fill("till 2")
    page.get_by_role("button", name="Add a key").click()
    second = page.get_by_label("API key").input_value()
    assert 200 == send(console.system, second).status_code


def test_wallet(console: Console) -> None:
    """What it will hold is shown before it is done; it never falls below zero."""
    make(console, "Hoggar Shop")
    page = console.page
    page.get_by_role("link", name="to the account").click()
    page.get_by_label("Add (DZD)").fill("99.50")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#wallet")).to_contain_text("1,350.00 DZD")
    expect(page.locator(".figures")).to_contain_text("1,250.50 DZD")
    page.get_by_role("button", name="Yes, add it").click()
    expect(page.locator(".flash")).to_contain_text("the wallet holds 1350.00 DZD")
    expect(page.locator(".figures")).to_contain_text("1,350.00 DZD")
    console.allow("422")
    page.get_by_label("Add (DZD)").fill("-1350.01")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#wallet")).to_contain_text("the wallet would fall below zero")
    page.get_by_label("Add (DZD)").fill("much")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#wallet")).to_contain_text("an amount such as")
    expect(page.locator(".figures")).to_contain_text("1,350.00 DZD")


def test_limits_and_switches(console: Console) -> None:
    """Limits hold for the next message; a disabled account is refused; both can be undone."""
    key = make(console, "Djurdjura")
    page, system = console.page, console.system
    page.get_by_role("link", name="to the account").click()
    page.get_by_label("Messages a day (UTC)").fill("1")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".flash")).to_contain_text("Saved")
    assert [200, 429] == [send(system, key, f"+21366129910{number}").status_code for number in range(2)]
    page.get_by_label("Messages a day (UTC)").fill("")
    page.get_by_label("When nobody can know").select_option("resend")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("When nobody can know")).to_have_value("resend")
    expect(page.get_by_label("Messages a day (UTC)")).to_have_value("")
    assert 200 == send(system, key, "+213661299105").status_code
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Disable").click()
    expect(page.locator(".flash")).to_contain_text("disabled now")
    assert 403 == send(system, key, "+213661299106").status_code
    page.get_by_role("button", name="Enable").click()
    expect(page.locator(".flash")).to_contain_text("enabled now")
    assert 200 == send(system, key, "+213661299107").status_code


def test_countries(console: Console) -> None:
    """Where an account may send to, however the codes are typed; what is no country is told, and nothing is changed then."""
    console.allow("422")
    key = make(console, "Tassili")
    page, system = console.page, console.system
    page.get_by_role("link", name="to the account").click()
    page.get_by_label("Countries").fill("ma,tn")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".flash")).to_contain_text("Saved")
    expect(page.get_by_label("Countries")).to_have_value("MA, TN")
    assert 422 == send(system, key, "+213661299201").status_code
    page.get_by_label("Countries").fill("DZ Atlantis")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("main")).to_contain_text("ATLANTIS: no ISO code of a country")
    expect(page.get_by_label("Countries")).to_have_value("MA, TN")
    page.get_by_label("Countries").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".flash")).to_contain_text("Saved")
    assert 200 == send(system, key, "+213661299202").status_code


def test_login(console: Console) -> None:
    """A login may be given later; it is not to be had twice."""
    make(console, "Aures")
    page = console.page
    page.get_by_role("link", name="to the account").click()
    page.get_by_label("Login", exact=True).fill("aures")
    page.get_by_label("New password").fill("correct horse")
    page.get_by_role("button", name="Set the password").click()
    expect(page.locator(".flash")).to_contain_text("The password is set")
    assert 200 == console.stack.http.get("/3rdparty/v1/devices", auth=("aures", "correct horse")).status_code
    assert "correct horse" not in page.content()
    console.allow("409")
    console.open("/console/accounts")
    page.get_by_label("Name", exact=True).fill("Aures 2")
    page.get_by_label("Login", exact=True).fill("aures")
    page.get_by_label("Password", exact=True).fill("another word")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("alert")).to_contain_text("this login is in use")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Aures 2")


def to_templates(console: Console) -> Page:
    page = console.open(f"/console/accounts/{console.system.account['id']}/templates")
    page.get_by_role("link", name="New template").click()
    return page


def test_preview_while_typing(console: Console) -> None:
    """Alphabet, parts and what forces UCS-2 follow what is typed; 71 Arabic characters are two parts; then it is saved and used."""
    page = to_templates(console)
    page.get_by_label("Key").fill("arabic")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("GSM-7")
    expect(preview).to_contain_text("1 part")
    text = page.get_by_label("Text, with")
    text.fill("")
    text.press_sequentially("Votre code ê {code}")
    expect(preview.locator("mark")).to_have_text("ê")
    expect(preview).to_contain_text("UCS-2")
    expect(preview).to_contain_text("Votre code ê 123456")
    text.fill(_ARABIC)
    expect(preview).to_contain_text("2 parts")
    expect(preview).to_contain_text("71 UTF-16 units; a single part holds 70")
    expect(preview).to_contain_text("one part holds 70 characters and not 160")
    shot(page, "template")
    text.fill("No placeholder")
    expect(preview).to_contain_text("{code} is missing")
    text.fill("{code}: {minutes} min")
    expect(preview).to_contain_text("123456: 5 min")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".flash")).to_contain_text("arabic is saved: 1 part")
    answer = console.stack.http.post(
        "/api/v1/send-otp", json={"phone": "+213661299201", "template_key": "arabic"},
        headers={"Authorization": f"Bearer {console.system.account['key']}"},
    )  # fmt: skip
    assert 200 == answer.status_code
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#templates tr", has_text="arabic").get_by_role("button", name="Remove").click()
    expect(page.locator("#templates")).not_to_contain_text("arabic")


def test_without_scripts(console: Console) -> None:
    """The preview has a button, and what was typed stays; a template that is wrong is not saved, and says why."""
    console.allow("422")
    context = console.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
    try:
        context.add_cookies(console.context.cookies())  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{console.url}/console/accounts/{console.system.account['id']}/templates/edit")
        page.get_by_label("Key").fill("plain")
        page.get_by_label("Text, with").fill(_ARABIC)
        page.get_by_role("button", name="Preview").click()
        expect(page.locator("#preview")).to_contain_text("2 parts")
        expect(page.get_by_label("Key")).to_have_value("plain")
        page.get_by_label("Text, with").fill("{cde}")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("unknown placeholder {cde}")
        page.get_by_label("Text, with").fill("Code: {code}")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".flash")).to_contain_text("plain is saved")
        page.goto(f"{console.url}/console/accounts/{console.system.account['id']}")
        page.get_by_label("Add (DZD)").fill("1")
        page.get_by_role("button", name="Go on").click()
        page.get_by_role("button", name="Yes, add it").click()
        expect(page.locator(".flash")).to_contain_text("+1.00")
    finally:
        context.close()


def test_list(console: Console) -> None:
    """Found by name; what it used today is there. Small screens and the dark show it all."""
    make(console, "Zibans <b>&co</b>")
    page = console.open("/console/accounts")
    expect(page.locator("#accounts")).to_contain_text("Zibans <b>&co</b>")
    expect(page.locator("#accounts tr", has_text="Sahara Pay")).to_contain_text("enabled")
    shot(page, "accounts")
    page.get_by_label("Find by name or id").fill("zibans")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#accounts tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile("q=zibans"))
    page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    page.emulate_media(color_scheme="dark")
    for path in ("", f"/{console.system.account['id']}", f"/{console.system.account['id']}/templates/edit"):
        console.open(f"/console/accounts{path}")
        assert fits(page), path
