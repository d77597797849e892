"""The QR code of an address: read back by a reader of QR codes, and refused where it is none."""

from __future__ import annotations

import io

import pytest
import resvg_py
import zxingcpp
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from easel.ui.qr_route import MAX_ADDRESS_CHARS, qr_route

ADDRESS = "https://easel.example/?tab=lab.matrix&present=&prompt=um+gato+%C3%A9"


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=[qr_route()]))


@pytest.mark.parametrize("address", [ADDRESS, "http://10.0.0.7:7860/",
                                     "http://x/" + "a%20" * ((MAX_ADDRESS_CHARS - 9) // 4)])
def test_it_is_read_as_the_address(client: TestClient, address: str) -> None:
    answer = client.get("/qr.svg", params={"address": address})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    drawn = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(answer.text, width=900))))
    [found] = zxingcpp.read_barcodes(drawn.convert("RGB"))
    assert found.text == address


@pytest.mark.parametrize("address", ["", "javascript:alert(1)", "ftp://x", "http://ü",
                                     "http://" + "x" * MAX_ADDRESS_CHARS])
def test_what_is_no_short_address_is_refused(client: TestClient, address: str) -> None:
    answer = client.get("/qr.svg", params={"address": address})
    assert (answer.status_code, answer.json()["detail"]) == (
        400, "A QR code is made of an address of at most 1,200 characters.")
