"""Tables that a row can be chosen from, and columns that show shares as bars."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st


def choose_row(
    table: pd.DataFrame,
    *,
    key: str,
    columns: dict[str, Any] | None = None,
    height: int | None = None,
) -> int | None:
    """Show a table and return the position of the chosen row, None where there is none."""
    event: Any = st.dataframe(
        table,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        column_config=columns,
        height=height or "auto",
        key=key,
    )
    rows = event["selection"]["rows"]
    # a choice may outlive the table it was made in
    return int(rows[0]) if rows and rows[0] < len(table) else None


def share(title: str, explanation: str | None = None) -> Any:
    """Return a column of numbers from 0 to 1, drawn as bars."""
    return st.column_config.ProgressColumn(
        title, help=explanation, min_value=0.0, max_value=1.0, format="percent"
    )


def percent(title: str, explanation: str | None = None) -> Any:
    """Return a column of numbers from 0 to 1, written in per cent."""
    return st.column_config.NumberColumn(title, help=explanation, format="percent")
