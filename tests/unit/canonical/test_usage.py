from hypothesis import given
from hypothesis import strategies as st

from shared.canonical.usage import Usage

counts = st.none() | st.integers(0, 1000)
usages = st.builds(
    Usage,
    input=counts,
    cache_read=counts,
    cache_write_5m=counts,
    cache_write_1h=counts,
    output=counts,
    reasoning=counts,
    audio_input=counts,
    audio_output=counts,
    tool_fees=st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9)),
    service_tier=st.none() | st.just("standard"),
)


def test_a_later_report_replaces_what_it_names_and_keeps_the_rest() -> None:
    start = Usage(input=10, cache_read=5, cache_write_1h=3, output=1, service_tier="standard")
    assert start.merged(Usage(input=12, output=40, reasoning=9)) == Usage(
        input=12, cache_read=5, cache_write_1h=3, output=40, reasoning=9, service_tier="standard"
    )


def test_zero_is_a_report_and_none_is_not() -> None:
    assert Usage(input=10).merged(Usage(input=0)).input == 0
    assert Usage(input=10).merged(Usage(input=None)).input == 10
    assert Usage().merged(Usage()).input is None


def test_tool_fees_are_cumulative_by_name() -> None:
    merged = Usage(tool_fees={"web_search": 1, "web_fetch": 1}).merged(
        Usage(tool_fees={"web_search": 3})
    )
    assert merged.tool_fees == {"web_search": 3, "web_fetch": 1}


def test_an_estimate_is_one_until_a_real_report_comes() -> None:
    assert not Usage(output=1, estimated=True).merged(Usage(output=2)).estimated
    assert Usage(output=1).merged(Usage(output=2, estimated=True)).estimated


def test_the_prompt_holds_every_input_class() -> None:
    assert Usage(input=1, cache_read=2, cache_write_5m=4, cache_write_1h=8).prompt_total == 15
    assert Usage(cache_read=2).prompt_total == 2
    assert Usage(output=3).prompt_total is None


@given(usages)
def test_a_repeated_report_changes_nothing(usage: Usage) -> None:
    assert usage.merged(usage) == usage


@given(usages, usages, usages)
def test_it_does_not_matter_which_reports_are_merged_first(a: Usage, b: Usage, c: Usage) -> None:
    assert a.merged(b).merged(c) == a.merged(b.merged(c))
