"""The labelling pages: boxes of pictures, one picture at a time, and where two people disagree."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response

from wearalike.datasets import label_review, picture_labels
from wearalike.datasets.formats.record import BadLabels, LabelledObject
from wearalike.datasets.label_agreement import MIN_IOU
from wearalike.datasets.label_queue import MARGIN_TEXT
from wearalike.datasets.picture_labels import LabelHistory, LabelPicture, LabelStatus
from wearalike.server.label_desk import LabelDesk, LabelMode, QueuePlace
from wearalike.server.pages.base import (
    PageUrls,
    app_repository_and_images,
    clamped_int,
    query_param,
    render_page,
    require_same_origin,
)
from wearalike.warehouse.base import Rejected
from wearalike.warehouse.person_name import normalize_person_name

log = logging.getLogger(__name__)
router = APIRouter()
DISAGREEMENTS_PER_PAGE = 10
CLOSED_TEXT = (
    "Labels cannot be saved here: this server may only read the warehouse. "
    "Please label on a server whose role may write."
)


@router.get("/label")
def label_form(request: Request) -> HTMLResponse:
    """Show the next picture to the person whom the query names, or ask for a name."""
    published, _ = app_repository_and_images(request)
    desk: LabelDesk = request.app.state.label_desk
    if not desk.may_record():
        raise HTTPException(403, CLOSED_TEXT)
    params = request.query_params
    mode = _read_mode(params.get("mode"))
    asked = query_param(params, "labeller")
    with published.snapshot() as s:
        pictures = desk.run_pictures(s.run, s.signature)
        start: dict[str, Any] = {"run": s.run, "mode": mode, "margin_text": MARGIN_TEXT}
        try:
            name = normalize_person_name(asked, "labeller") if asked else None
        except ValueError as error:
            return _ask_for_name(request, desk, pictures, start, str(error))
        if name is None:
            return _ask_for_name(request, desk, pictures, start)
        image_id = query_param(params, "picture")
        if mode is LabelMode.FINAL:
            place = _find_final_place(desk.history(), image_id)
        else:
            place = desk.find_place(pictures, mode, name, image_id)
        context = {**start, "labeller": name, "place": place}
        if place.picture is None:
            return render_page(request, "label_done.html", **context)
        product = s.product(place.picture.product_id)
        boxes = _own_boxes(desk.history(), place.picture, name, mode, params.get("of"))
        return render_page(
            request,
            "label.html",
            picture=place.picture,
            title=product["title"] if product else place.picture.product_id,
            category=product["category"] if product else "",
            boxes=picture_labels.format_boxes(boxes),
            saved_at=_last_save(desk.history(), place.picture, name, mode),
            proposals=json.dumps(desk.proposals(s.run, place.picture.image_id, product)),
            vocabulary=desk.vocabulary(),
            min_box_px=picture_labels.MIN_BOX_PX,
            max_boxes=picture_labels.MAX_BOXES,
            **context,
        )


@router.post("/label")
def save_label(
    request: Request,
    labeller: Annotated[str, Form(max_length=200)],
    run: Annotated[str, Form(max_length=64)],
    picture: Annotated[str, Form(max_length=64)],
    mode: Annotated[LabelMode, Form()],
    boxes: Annotated[str, Form(max_length=60_000)] = "[]",
    action: Annotated[str, Form(pattern="^(save|skip)$")] = "save",
    then: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Save a person's labels of a picture, and redirect to the next picture."""
    require_same_origin(request)
    desk: LabelDesk = request.app.state.label_desk
    at = PageUrls(request)
    found = _find_picture(request, run, picture)
    try:
        name = normalize_person_name(labeller, "labeller")
        objects: tuple[LabelledObject, ...] = ()
        if action == "save":
            objects = picture_labels.parse_boxes(boxes, found, desk.vocabulary())
    except (BadLabels, ValueError) as error:
        raise HTTPException(422, f"{error}. Your boxes are kept in this browser.") from None
    if mode is LabelMode.FINAL:
        if action == "save":
            _record(request, run, found, name, LabelStatus.FINAL, objects)
        return RedirectResponse(at("/label/disagreements", labeller=name), 303)
    status = LabelStatus.LABELLED if action == "save" else LabelStatus.SKIPPED
    _record(request, run, found, name, status, objects)
    return RedirectResponse(at("/label", labeller=name, mode=mode, picture=then), 303)


@router.get("/label/disagreements")
def label_disagreements(request: Request) -> HTMLResponse:
    """Show how far people agree, and side by side where they do not."""
    published, _ = app_repository_and_images(request)
    desk: LabelDesk = request.app.state.label_desk
    params = request.query_params
    history = desk.history()
    found = label_review.list_disagreements(history)
    still_open = [one for one in found if one.final is None or one.is_outdated]
    shown = found if params.get("show") == "all" else still_open
    first = clamped_int(params.get("start"), 0, max(0, len(shown) - 1), 0)
    labeller, problem = _read_labeller(query_param(params, "labeller"))
    with published.snapshot() as s:
        return render_page(
            request,
            "label_disagreements_page.html",
            run=s.run,
            agreement=label_review.measure_agreement(history),
            attribute_names=("class", *picture_labels.ATTRIBUTE_NAMES),
            found_count=len(found),
            open_count=len(still_open),
            shows_all=params.get("show") == "all",
            start=first,
            total_count=len(shown),
            pictures=[
                (one, label_review.describe_differences(one))
                for one in shown[first : first + DISAGREEMENTS_PER_PAGE]
            ],
            per_page=DISAGREEMENTS_PER_PAGE,
            labeller=labeller,
            problem=problem,
            may_record=desk.may_record(),
            closed_text=CLOSED_TEXT,
            min_iou=MIN_IOU,
        )


@router.post("/label/final")
def choose_final(
    request: Request,
    labeller: Annotated[str, Form(max_length=200)],
    run: Annotated[str, Form(max_length=64)],
    picture: Annotated[str, Form(max_length=64)],
    of: Annotated[str, Form(max_length=200)],
    saved_at: Annotated[str, Form(max_length=40)],
) -> Response:
    """Make one person's labels of a picture the final ones."""
    require_same_origin(request)
    found = _find_picture(request, run, picture)
    name, problem = _read_labeller(labeller)
    if name is None:
        raise HTTPException(422, problem or "labeller: wanted a name")
    desk: LabelDesk = request.app.state.label_desk
    chosen = desk.history().by_picture.get(picture, {}).get(of)
    if chosen is None or chosen.saved_at != saved_at or chosen.status is not LabelStatus.LABELLED:
        raise HTTPException(409, "These labels have changed since. Please look at them again.")
    _record(request, run, found, name, LabelStatus.FINAL, chosen.objects)
    return RedirectResponse(PageUrls(request)("/label/disagreements", labeller=name), 303)


def _record(
    request: Request,
    run: str,
    picture: LabelPicture,
    name: str,
    status: LabelStatus,
    objects: tuple[LabelledObject, ...],
) -> None:
    """Save a label. Raise HTTPException where this server's role may not write."""
    desk: LabelDesk = request.app.state.label_desk
    if not desk.may_record():
        raise HTTPException(403, CLOSED_TEXT)
    try:
        desk.save(run, picture, name, status, objects)
    except Rejected:
        # Its text names the database.
        log.exception("a label was refused")
        raise HTTPException(403, CLOSED_TEXT) from None


def _find_picture(request: Request, run: str, image_id: str) -> LabelPicture:
    """Return a picture of the published run's queue, or one that somebody has saved.

    Raises:
        HTTPException: 409; another run is published, or there is no such picture to label.
    """
    published, _ = app_repository_and_images(request)
    desk: LabelDesk = request.app.state.label_desk
    with published.snapshot() as s:
        pictures = {one.image_id: one for one in desk.run_pictures(s.run, s.signature)}
        found = pictures.get(image_id) or desk.history().find_picture(image_id)
        if found is None or run != s.run:
            raise HTTPException(
                409,
                f"This picture is not one to label of run {s.run}, which is published now. "
                "Please go on with the next one.",
            )
        return found


def _find_final_place(history: LabelHistory, image_id: str | None) -> QueuePlace:
    """Return the picture asked for among those on which people disagree."""
    found = [one.labels[0].picture for one in label_review.list_disagreements(history)]
    number = next((i for i, one in enumerate(found) if one.image_id == image_id), None)
    done_count = sum(one.image_id in history.finals for one in found)
    return QueuePlace(found, number, done_count)


def _own_boxes(
    history: LabelHistory, picture: LabelPicture, name: str, mode: LabelMode, of: str | None
) -> tuple[LabelledObject, ...]:
    """Return the boxes that the editor begins with: the person's own alone, but for final ones."""
    people = history.by_picture.get(picture.image_id, {})
    if mode is not LabelMode.FINAL:
        return people[name].objects if name in people else ()
    if of in people:
        return people[str(of)].objects
    final = history.finals.get(picture.image_id)
    return final.objects if final else ()


def _last_save(history: LabelHistory, picture: LabelPicture, name: str, mode: LabelMode) -> str:
    """Return when the boxes shown were saved; empty if they were not."""
    people = history.by_picture.get(picture.image_id, {})
    label = history.finals.get(picture.image_id) if mode is LabelMode.FINAL else people.get(name)
    return label.saved_at if label else ""


def _ask_for_name(
    request: Request,
    desk: LabelDesk,
    pictures: list[LabelPicture],
    start: dict[str, Any],
    error: str | None = None,
) -> HTMLResponse:
    """Render the form for the name and for which pictures."""
    history = desk.history()
    by_count = [len(history.labels_of(image_id)) for image_id in history.by_picture]
    return render_page(
        request,
        "label_start.html",
        status=422 if error else 200,
        error=error,
        pictures_count=len(pictures),
        new_count=sum(not history.labels_of(one.image_id) for one in pictures),
        single_count=by_count.count(1),
        double_count=sum(count > 1 for count in by_count),
        **start,
    )


def _read_mode(text: str | None) -> LabelMode:
    """Return the mode that a query names; NEW for any other text."""
    return LabelMode(text) if text in list(LabelMode) else LabelMode.NEW


def _read_labeller(text: str | None) -> tuple[str | None, str | None]:
    """Return the name and what is wrong with it; both None for no name."""
    if not text:
        return None, None
    try:
        return normalize_person_name(text, "labeller"), None
    except ValueError as error:
        return None, str(error)
