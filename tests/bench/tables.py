"""Prints the results of bench.py, as text or as Markdown."""

# name, heading, scale, format; in the order of the columns
FIGURES = (
    ("rps", "requests/s", 1, "{:,.0f}"),
    ("latency_p50", "latency p50 ms", 1e-3, "{:.2f}"),
    ("latency_p99", "p99 ms", 1e-3, "{:.2f}"),
    ("first_byte_p50", "first byte p50 ms", 1e-3, "{:.2f}"),
    ("first_byte_p99", "p99 ms", 1e-3, "{:.2f}"),
    ("delay_p50", "event delay p50 ms", 1e-3, "{:.3f}"),
    ("delay_p99", "p99 ms", 1e-3, "{:.3f}"),
    ("cpu_request", "CPU us/request", 1, "{:.1f}"),
    ("cpu_event", "CPU us/event", 1, "{:.2f}"),
)


def plain_row(cells, widths):
    first, *rest = zip(cells, widths)
    return "  ".join([first[0].ljust(first[1])]
                     + [c.rjust(w) for c, w in rest]).rstrip()


def draw(rows, is_markdown):
    """Draws rows of text; the first is the heading."""
    if is_markdown:
        rule = "|---|" + "---:|" * (len(rows[0]) - 1)
        lines = ["| " + " | ".join(r) + " |" for r in rows]
        return "\n".join([lines[0], rule] + lines[1:])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join(plain_row(r, widths) for r in rows)


def figure_rows(work):
    """One row a proxy, then one a ratio to nginx."""
    columns = [f for f in FIGURES
               if any(f[0] in m for m in work["median"].values())]
    rows = [[""] + [f[1] for f in columns]]
    for proxy, median in work["median"].items():
        rows.append([proxy] + [
            form.format(median[name] * scale) if name in median else "-"
            for name, _, scale, form in columns])
    for proxy, ratio in work.get("ratio", {}).items():
        rows.append([f"{proxy} / nginx"] + [
            f"{ratio[f[0]]:.2f}" if f[0] in ratio else "-" for f in columns])
    return rows


def memory_rows(memory):
    levels = sorted({n for m in memory.values() for n in m["levels"]})
    rows = [["", "ready ms"]
            + [f"{n:,} streams MB" if n else "at rest MB" for n in levels]
            + [f"KB/stream at {n:,}" for n in levels if n]]
    for proxy, m in memory.items():
        rows.append(
            [proxy, f"{m['ready_ms']:.0f}"]
            + [f"{m['levels'][n]['pss'] / 1e6:.1f}" for n in levels]
            + [f"{m['per_stream'][n] / 1024:.1f}" for n in levels if n])
    return rows


def heading(results):
    m = results["machine"]
    versions = "; ".join(v for v in m["versions"].values() if v)
    shared = ("; ONE processor for proxy, load generator and mock"
              if m["is_shared"] else "")
    rounds = ("one round" if results["rounds"] == 1
              else f"median of {results['rounds']} rounds")
    return (f"{m['time']}, {m['processors']} x {m['processor']}{shared}, "
            f"Linux {m['kernel']}; {versions}; {rounds} of "
            f"{results['seconds']:g} s")


def tables(results, is_markdown):
    title = "### {}" if is_markdown else "== {} =="
    parts = [heading(results)]
    for work in results["works"].values():
        parts.append(title.format(work["title"]))
        parts.append(draw(figure_rows(work), is_markdown))
        if work["notes"]:
            parts.append("\n".join(f"- {n}" for n in work["notes"]))
    if results["memory"]:
        parts.append(title.format("Memory (Pss of the whole process tree)"))
        parts.append(draw(memory_rows(results["memory"]), is_markdown))
    return "\n\n".join(parts)


def text_tables(results):
    return tables(results, False)


def markdown_tables(results):
    return tables(results, True)
