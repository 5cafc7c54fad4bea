"""Labelled photos say which product they show: groups, colour numbers, views, pairs, runs."""

from pathlib import Path

import pytest
from PIL import Image

from wearalike.datasets import labelled_photos, layouts, paired_photos, pattern_words, run_photos


def folder_of(path: Path, header: str, *lines: str, file: str = "labels.csv") -> Path:
    """Write a set whose pictures are named by every value that ends in .png."""
    path.mkdir(parents=True)
    for name in {value for line in lines for value in line.split(",") if value.endswith(".png")}:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 60), "white").save(path / name)
    (path / file).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_groups_numbers_and_views_are_no_labels(tmp_path):
    found = labelled_photos.read_dataset(
        "folder",
        folder_of(
            tmp_path / "shop",
            "image,split,type,pattern,group,colour_number,view",
            "a.png,test,shirt,striped,7,01,front",
            "b.png,test,shirt,plain,7,01,back",
            "c.png,train,shirt,,7,02,front",
            "d.png,train,,,,,front",
        ),
    )
    assert found.label_names == ("type", "pattern")
    assert [photo.view for photo in found.photos] == ["front", "back", "front", "front"]
    assert found.groups.tolist() == [0, 0, 0, -1]
    assert found.products.tolist() == [0, 0, 1, -1]
    assert found.class_ids("pattern").tolist() == [1, 0, -1, -1]


def test_a_group_alone_names_an_article_and_no_product(tmp_path):
    """Its pictures are its colours; two black ones may well be a plain and a striped one."""
    lines = ("a.png,test,black,7", "b.png,test,black,7", "c.png,test,red,7")
    found = labelled_photos.read_dataset(
        "folder", folder_of(tmp_path / "shop", "image,split,colour,group", *lines)
    )
    assert found.groups.tolist() == [0, 0, 0] and found.products.tolist() == [-1, -1, -1]


def test_a_group_with_views_names_a_product_in_each_colour(tmp_path):
    lines = ("a.png,test,black,7,front", "b.png,test,black,7,back", "c.png,test,red,7,front")
    found = labelled_photos.read_dataset(
        "folder", folder_of(tmp_path / "shop", "image,split,colour,group,view", *lines)
    )
    assert found.products.tolist() == [0, 0, 1]


def test_a_set_of_groups_without_any_label_can_be_read(tmp_path):
    found = labelled_photos.read_dataset(
        "folder", folder_of(tmp_path / "shop", "image,split,group", "a.png,test,7", "b.png,test,")
    )
    assert found.label_names == () and [photo.id for photo in found.photos] == ["a.png"]


def test_a_colour_number_without_a_group_is_refused(tmp_path):
    made = folder_of(tmp_path / "shop", "image,split,type,group,colour_number", "a.png,test,x,,01")
    with pytest.raises(layouts.BadDataset, match=r"labels\.csv:2: colour_number '01', and no grou"):
        labelled_photos.read_dataset("folder", made)


def pairs_of(path: Path, *lines: str, header: str = "group,figure,flat,x0,y0,x1,y1") -> Path:
    return folder_of(path, header, *lines, file=paired_photos.PAIRS_FILE)


def test_figures_of_pairs_ask_and_flat_pictures_answer(tmp_path):
    found = paired_photos.read_pairs(
        pairs_of(tmp_path / "worn", "1,f/1.png,g/1.png,2,3,30,40", "2,f/2.png,g/1.png,,,,")
    )
    assert [(p.id, p.box, p.product, p.view) for p in found.photos] == [
        ("f/1.png#1", (2, 3, 30, 40), "1", "figure"),
        ("f/2.png#2", None, "2", "figure"),
        ("g/1.png#1", None, "1", "flat"),
        ("g/1.png#2", None, "2", "flat"),
    ]
    assert found.query_ids == {"f/1.png#1", "f/2.png#2"} and found.label_names == ()
    labelled = pairs_of(
        tmp_path / "more", "1,1.png,2.png,top,val", header="group,figure,flat,type,split"
    )
    read = paired_photos.read_pairs(labelled)
    assert read.label_names == ("type",) and {p.split for p in read.photos} == {"val"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (",1.png,2.png,,,,", r"pairs\.csv:2: group: wanted the garment's name"),
        ("1,../1.png,2.png,,,,", r"pairs\.csv:2: figure: wanted a picture's path inside"),
        ("1,1.png,gone,,,,", r"pairs\.csv:2: .*gone: no such picture"),
        ("1,1.png,2.png,9,9,3,3", r"pairs\.csv:2: box: wanted x0 < x1"),
        ("1,1.png,2.png", r"pairs\.csv:2: 3 values, wanted 7"),
    ],
)
def test_a_bad_pair_is_refused_with_its_line(tmp_path, line, message):
    with pytest.raises(layouts.BadDataset, match=message):
        paired_photos.read_pairs(pairs_of(tmp_path / "worn", line))


def test_a_pairs_file_needs_its_columns(tmp_path):
    with pytest.raises(layouts.BadDataset, match="no column 'flat'; wanted group, figure, flat"):
        paired_photos.read_pairs(pairs_of(tmp_path / "one", "1,1.png", header="group,figure"))
    with pytest.raises(layouts.BadDataset, match="no column 'y0'"):
        paired_photos.read_pairs(
            pairs_of(tmp_path / "two", "1,1.png,2.png,3", header="group,figure,flat,x0")
        )
    with pytest.raises(layouts.BadDataset, match="no pair"):
        paired_photos.read_pairs(pairs_of(tmp_path / "three"))


@pytest.mark.parametrize(
    ("title", "pattern"),
    [
        ("Pinstriped suit", "striped"),
        ("Рубашка в клетку", "checked"),
        ("Платье в горошек", "dotted"),
        ("Blouse with floral print", "floral"),
        ("Юбка с принтом", "printed"),
        ("Necklace holder", ""),
        ("Платье миди", ""),
    ],
)
def test_titles_name_patterns(title, pattern):
    assert pattern_words.find_pattern(title) == pattern


def test_a_runs_tables_are_a_labelled_set(night):
    root, run = night / "root", "day-1"
    found = run_photos.read_run(root, run)
    assert found.name == run and {"type", "colour", "both"} <= set(found.label_names)
    assert len({photo.id for photo in found.photos}) == len(found.photos) > 100
    assert all(photo.path.is_file() and photo.box and photo.product for photo in found.photos)
    splits: dict[str, set[str]] = {}
    for photo in found.photos:
        splits.setdefault(photo.group, set()).add(photo.split)
    assert all(len(each) == 1 for each in splits.values()) and len(splits) > 50
    assert {photo.split for photo in found.photos} == {"train", "val", "test"}
    assert run_photos.read_run(root, run) == found
    with pytest.raises(FileNotFoundError, match="table products of run never is not made"):
        run_photos.read_run(root, "never")
