"""Feeds' colour words become named colours, and named colours are as near as they look."""

import pytest

from wearalike.catalog.colour_names import (
    MAX_NAME_DISTANCE,
    build_name_table,
    from_json,
    packaged_colour_names,
    read_colour_names,
    to_json,
)
from wearalike.catalog.packaged import packaged_mapping_path
from wearalike.catalog.xml_validation import BadMapping

COLOURS = packaged_colour_names()


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["Navy Blue"], ["navy"]),
        (["тёмно-синий"], ["navy"]),
        (["Темно-Синяя"], ["navy"]),
        (["dark blue"], ["navy"]),
        (["dunkelblau"], ["navy"]),
        (["Синий"], ["blue"]),
        (["світло-сірий"], ["light_grey"]),
        (["светлозелёный"], ["light_green"]),
        (["hellgrün"], ["light_green"]),
        (["ciemnozielony"], ["dark_green"]),
        (["Dark Grey Melange"], ["dark_grey"]),
        (["açık mavi"], ["light_blue"]),
        (["красный с белым"], ["red", "white"]),
        (["Black/White"], ["black", "white"]),
        (["розовое золото"], ["rosegold"]),
        (["розовый"], ["pink"]),
        (["мультиколор"], ["multi"]),
        (["Цвет: чёрный матовый"], ["black"]),
        (["001 schwarz"], ["black"]),
        (["#1B2A4A"], ["#1b2a4a"]),
        (["red", "green", "blue", "yellow"], ["blue", "green", "red"]),
        (["Sky Blue"], ["skyblue"]),
        (["off-white"], ["offwhite"]),
        (["Midnight dream 05"], ["navy"]),
        (["Galaxy"], []),
        (["dark"], []),
        ([""], []),
        ([], []),
    ],
)
def test_words_of_feeds_name_colours(texts, wanted):
    assert list(COLOURS.find(texts)) == wanted


def test_many_words_of_a_hostile_feed_do_not_grow_the_memory():
    for i in range(10_500):
        COLOURS.find([f"red {i}"])
    assert len(COLOURS._known) <= 10_001


def distance(a: str, b: str) -> int:
    table = build_name_table([a, b], COLOURS.hex_by_id)
    return int(table.distances[table.names.index(a), table.names.index(b)])


def test_named_colours_are_as_near_as_they_look():
    assert distance("navy", "navy") == 0
    assert 0 < distance("navy", "black") < distance("navy", "blue") < distance("navy", "yellow")
    assert distance("beige", "cream") < distance("beige", "brown")
    assert distance("green", "light_green") < distance("green", "red")
    assert distance("black", "white") == MAX_NAME_DISTANCE == distance("red", "blue")
    assert distance("#1b2a4a", "navy") == 0


def test_sets_of_colours_are_near_if_each_colour_has_a_near_one():
    assert distance("black+white", "black+white") == 0
    assert 0 < distance("black", "black+white") < distance("red", "black+white")
    assert distance("black", "black+white") == distance("black+white", "black")


def test_who_says_no_colour_is_equally_far_from_all():
    table = build_name_table(["", "navy", "white", "multi"], COLOURS.hex_by_id)
    assert table.distances[table.names.index("")].tolist() == [0, 0, 0, 0]
    of_none = {int(row[table.names.index("")]) for row in table.distances[1:]}
    assert len(of_none) == 1
    assert 0 < of_none.pop() < distance("navy", "white")
    assert distance("multi", "red") == distance("red", "multi") > 0


def test_a_run_remembers_how_its_colours_look():
    assert from_json(to_json(COLOURS.hex_by_id)) == COLOURS.hex_by_id


def test_every_mistake_of_the_file_is_told(tmp_path):
    packaged = packaged_mapping_path("colours.xml")
    path = tmp_path / "colours.xml"
    path.with_suffix(".rng").write_text(packaged.with_suffix(".rng").read_text())
    path.write_text(
        '<colours>\n<colour id="red" hex="red" words="red"/>\n'
        '<colour id="blue" hex="#0000ff" words="blue, navy"/>\n'
        '<colour id="navy" hex="#000080" words="navy"/>\n'
        '<colour id="blue" hex="#0000ff" words="azure"/>\n'
        '<shade id="pale" words="pale"/>\n</colours>'
    )
    with pytest.raises(BadMapping) as caught:
        read_colour_names(path)
    lines = "\n".join(caught.value.mistakes)
    for part in (":2:", "#1b2a4a", ":4:", "'navy': is a word of blue", ":5:", "given twice", ":6:"):
        assert part in lines


def test_a_file_without_colours_names_none(tmp_path):
    packaged = packaged_mapping_path("colours.xml")
    path = tmp_path / "colours.xml"
    path.with_suffix(".rng").write_text(packaged.with_suffix(".rng").read_text())
    path.write_text("<colours/>")
    colours = read_colour_names(path)
    assert colours.find(["red"]) == ()
    assert build_name_table(["red", ""], colours.hex_by_id).distances.max() == 0
