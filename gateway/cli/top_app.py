"""The live screen of `gateway top`, over the admin API alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rich.markup import escape
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from gateway.admin.client import AdminClient, AdminRefused, AdminUnreachable
from gateway.admin.contract import LiveQuery
from gateway.admin.pages import duration, size
from gateway.cli.top import COLUMNS, cells
from gateway.store.records import QueryRecord

SORTS: dict[str, Callable[[LiveQuery], Any]] = {
    "age": lambda query: -query.age_ms,
    "bytes": lambda query: -(query.bytes_out or 0),
    "rows": lambda query: -(query.rows or 0),
    "principal": lambda query: (query.principal, -query.age_ms),
    "engine": lambda query: (query.engine or "", query.backend or "", -query.age_ms),
    "state": lambda query: (query.state, -query.age_ms),
}

_STATE_STYLES = {"running": "green", "queued": "yellow", "deciding": "cyan", "cancelling": "red"}


class ConfirmCancel(ModalScreen[bool]):
    """Asks before a query is stopped: the wrong row is one key away."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "stop it"),
        Binding("n,escape", "dismiss(False)", "leave it"),
    ]
    CSS = """
    ConfirmCancel { align: center middle; }
    ConfirmCancel > Vertical { width: 70; height: auto; padding: 1 2; border: round $error; background: $surface; }
    """

    def __init__(self, query_id: str, principal: str) -> None:
        super().__init__()
        self._question = f"Stop query [b]{escape(query_id)}[/b] of [b]{escape(principal)}[/b]?"

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question)
            yield Static("[b]y[/b] stop it    [b]n[/b] leave it", classes="keys")


class TrailScreen(ModalScreen[None]):
    """One query: its figures and why it was decided so."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter", "dismiss", "back")]
    CSS = """
    TrailScreen { align: center middle; }
    TrailScreen > VerticalScroll { width: 90%; height: 80%; padding: 1 2; border: round $accent; background: $surface; }
    """

    def __init__(self, record: QueryRecord) -> None:
        super().__init__()
        self._record = record

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(trail_text(self._record), id="trail")


class TopApp(App[None]):
    """Refreshes every `interval` seconds; an unreachable gateway is shown and tried again."""

    TITLE = "gateway top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #summary { height: 1; padding: 0 1; background: $panel; }
    #filter { display: none; border: none; height: 1; }
    #filter.shown { display: block; }
    DataTable { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("k", "cancel_query", "stop query"),
        Binding("s", "next_sort", "sort"),
        Binding("slash", "filter", "filter"),
        Binding("escape", "clear_filter", "clear", show=False),
        Binding("r", "refresh_now", "refresh"),
    ]

    def __init__(self, client: AdminClient, interval: float = 1.0) -> None:
        super().__init__()
        self._client = client
        self._interval = interval
        self._queries: tuple[LiveQuery, ...] = ()
        self._sort = "age"
        self._words: list[str] = []
        self._problem = ""

    def compose(self) -> ComposeResult:
        yield Static(id="summary")
        yield Input(placeholder="words that a row must contain", id="filter")
        yield DataTable[Text](cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        table = self._table
        for name in COLUMNS:
            table.add_column(name, key=name)
        table.focus()
        self.set_interval(self._interval, self.load)
        self.load()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one(DataTable)

    # -- data ------------------------------------------------------------------------------------------------

    @work(exclusive=True, group="load")
    async def load(self) -> None:
        """Ask once; a slow answer is given up when the next question is due."""
        try:
            self._queries = await self._client.queries()
            self._problem = ""
        except (AdminUnreachable, AdminRefused) as error:
            self._problem = str(error)
        self.show()

    def shown(self) -> list[LiveQuery]:
        """The queries that pass the filter, in the chosen order."""
        matching = [
            query
            for query in self._queries
            if all(word in " ".join(cells(query)).lower() for word in self._words)
        ]
        return sorted(matching, key=SORTS[self._sort])

    def show(self) -> None:
        """Draw the table anew and keep the cursor on the query that it was on."""
        table, queries, chosen = self._table, self.shown(), self.chosen()
        table.clear()
        for query in queries:
            table.add_row(*_styled(query), key=query.id)
        ids = [query.id for query in queries]
        if chosen in ids:
            table.move_cursor(row=ids.index(chosen))
        self.query_one("#summary", Static).update(self._summary(len(queries)))

    def _summary(self, count: int) -> Text:
        if self._problem:
            return Text(self._problem, style="bold red")
        hidden = f" of {len(self._queries)}" if count != len(self._queries) else ""
        filtered = f" · filter: {' '.join(self._words)}" if self._words else ""
        return Text(f"{count}{hidden} running · sorted by {self._sort}{filtered}")

    def chosen(self) -> str | None:
        """The id of the query under the cursor."""
        table = self._table
        if not table.row_count or not 0 <= table.cursor_row < table.row_count:
            return None
        return table.coordinate_to_cell_key((table.cursor_row, 0)).row_key.value  # type: ignore[arg-type]

    # -- keys ------------------------------------------------------------------------------------------------

    def action_next_sort(self) -> None:
        names = list(SORTS)
        self._sort = names[(names.index(self._sort) + 1) % len(names)]
        self.show()

    def action_refresh_now(self) -> None:
        self.load()

    def action_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def action_clear_filter(self) -> None:
        field = self.query_one("#filter", Input)
        field.value = ""
        field.remove_class("shown")
        self._table.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._words = event.value.lower().split()
        self.show()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._table.focus()

    @work(group="trail", exclusive=True)
    async def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        try:
            record = await self._client.query(str(event.row_key.value))
        except (AdminUnreachable, AdminRefused) as error:
            self.notify(str(error), severity="warning", markup=False)
            return
        await self.push_screen(TrailScreen(record))

    @work(group="cancel", exclusive=True)
    async def action_cancel_query(self) -> None:
        query = next((query for query in self._queries if query.id == self.chosen()), None)
        if query is None:
            return
        if not await self.push_screen_wait(ConfirmCancel(query.id, query.principal)):
            return
        try:
            await self._client.cancel(query.id)
            self.notify(f"{query.id} was asked to stop", markup=False)
        except (AdminUnreachable, AdminRefused) as error:
            self.notify(str(error), severity="error", markup=False)
        self.load()


def _styled(query: LiveQuery) -> list[Text]:
    shown = cells(query)
    styles = {"state": _STATE_STYLES.get(query.state, ""), "id": "dim", "progress": "blue"}
    right = ("age", "rows", "bytes")
    return [
        Text(cell, style=styles.get(name, ""), justify="right" if name in right else "left", no_wrap=True)
        for name, cell in zip(COLUMNS, shown, strict=True)
    ]


def trail_text(record: QueryRecord) -> Text:
    """A query's facts and trail as text; nothing in it is read as markup."""
    facts = {
        "query": record.id,
        "principal": record.principal,
        "wire": record.wire,
        "engine": record.engine,
        "backend": record.backend or record.backend_group,
        "engine's id": record.engine_query_id,
        "outcome": record.outcome or "running",
        "error": record.error_code,
        "rows": None if record.rows is None else f"{record.rows:,}",
        "sent": size(record.bytes_out),
        "scanned": size(record.bytes_scanned),
        "total": duration(record.total_ms),
    }
    text = Text()
    for name, value in facts.items():
        if value:
            text.append(f"{name:>12}  ", style="dim").append(f"{value}\n")
    text.append("\ntrail\n", style="bold")
    for step in record.trail or ():
        would = "would have " if step.get("observed") else ""
        text.append(f"  {step.get('stage', '')}: ", style="cyan").append(f"{would}{step.get('effect', '')}")
        text.append(f" by {step['rule']}" if step.get("rule") else "", style="yellow")
        text.append(f"  {step['detail']}" if step.get("detail") else "", style="dim").append("\n")
    return text
