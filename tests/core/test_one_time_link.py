"""Where links lead."""

from tokenopen.core.one_time_link import LINK_LIFE_MS, path_of_link


def test_each_purpose_has_a_page_of_its_own() -> None:
    assert path_of_link("administrator", "x") == "/administrator-link/x"
    assert path_of_link("password", "x") == "/new-password/x"
    assert path_of_link("sign_up", "x") == "/sign-up/x"


def test_links_work_for_an_hour() -> None:
    assert LINK_LIFE_MS == 60 * 60 * 1000
