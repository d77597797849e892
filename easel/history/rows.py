"""From a picture that is to be kept to the rows of the tables."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from easel.history.records import NewPicture
from easel.history.tables import Link, Picture, Weights


def new_row(owner: str, picture: NewPicture, sha256: str) -> Picture:
    """The row of a picture whose file is kept already."""
    facts = picture.facts
    prompt = str(facts.get("prompt", "")).replace("\0", "")
    score = dict(facts.get("scores", {})).get("clip")
    return Picture(
        id=picture.id or secrets.token_hex(16), owner=owner, sha256=sha256,
        size_bytes=len(picture.data), created_s=time.time(), deleted=False,
        job_id=str(facts.get("job_id", ""))[:64], pipeline=str(facts.get("pipeline", ""))[:64],
        prompt=prompt, search=prompt.casefold(), seed=int(facts.get("seed") or 0),
        width_px=int(facts.get("width_px") or 0), height_px=int(facts.get("height_px") or 0),
        clip_score=None if score is None else float(score), favourite=False, facts=dict(facts))


def weights_of(row: Picture) -> list[Weights]:
    """The models that its facts name."""
    return [Weights(picture=row.id, model=str(model)[:200], sha256=digest, owner=row.owner)
            for model, digest in dict(row.facts.get("weights", {})).items()]


def links_of(session: Session, row: Picture, parents: Sequence[str]) -> list[Link]:
    """Links to those of the parents that the owner has."""
    known = session.scalars(select(Picture.id).where(Picture.id.in_(parents),
                                                     Picture.owner == row.owner))
    return [Link(child=row.id, parent=parent) for parent in known if parent != row.id]
