"""Open the history that the settings name."""

from __future__ import annotations

from sqlalchemy.engine import URL

from easel.history.buckets import open_shelf
from easel.history.database import Database
from easel.history.files import FileStore
from easel.history.members import Members
from easel.history.records import HistoryError
from easel.history.store import History
from easel.settings import Settings
from pipelines.core.errors import reason


def open_history(settings: Settings) -> History:
    """The history of a process, its tables brought up to date.

    Raises:
        HistoryError: the database or the store of the files cannot be opened, or the database is
            newer than this code.
    """
    folder = settings.data_dir.resolve() / "history"
    url: str | URL = settings.database_url.get_secret_value()
    if not url:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HistoryError("The folder of EASEL_DATA_DIR cannot be used: {}.",
                               reason(error)) from None
        url = URL.create("sqlite", database=str(folder / "history.sqlite"))
    database = Database(url)
    password = settings.shared_password.get_secret_value()
    shelf = open_shelf(settings.files_url) if settings.files_url else None
    history = History(database, FileStore(folder, shelf), int(settings.history_quota),
                      int(settings.visitor_quota),
                      Members(database, password) if password else None)
    history.late.resume()
    return history
