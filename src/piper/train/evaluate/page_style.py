"""How the report of an evaluation looks, beside what all pages have. Table of text."""

STYLE = """
.groups th[scope=rowgroup] { color: var(--ink); padding-top: 1rem; }
.groups th[scope=row] {
  font-weight: 400; white-space: normal; min-width: 9rem; position: sticky; left: 0;
  background: var(--ground);
}
.groups td { white-space: nowrap; }
.groups th, .groups td { padding-right: 1.4rem; }
.interval, .mark { display: block; font-size: .85rem; }
.interval { color: var(--faint); }
.better { color: var(--ready); font-weight: 600; }
.worse { color: var(--error); font-weight: 600; }
article h3 { margin: 0 0 .4rem; }
.histogram { max-width: 26rem; }
.systems {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr));
  gap: 1rem 1.25rem; margin: .8rem 0;
}
.systems .length { min-width: 35%; }
.systems ul { margin: .3rem 0; }
.systems li::marker { color: var(--error); }
.systems .strip { height: 6rem; }
.values { margin: .4rem 0; font-variant-numeric: tabular-nums; }
.said { margin: .3rem 0; font-size: .95rem; }
.said .faint { display: block; font-size: .85rem; }
del { color: var(--error); text-decoration-thickness: 2px; }
ins { color: var(--warning); text-underline-offset: 3px; text-decoration-thickness: 2px; }
.short audio { width: 13rem; margin-top: 0; }
.short td { min-width: 9rem; }
.short td:first-child { min-width: 4rem; font-size: 1.1rem; }
@media (max-width: 40rem) {
  .groups th, .groups td { padding-right: .8rem; }
  .groups th[scope=row] { min-width: 6rem; max-width: 8rem; }
  .groups th[scope=col] {
    white-space: normal; overflow-wrap: anywhere; min-width: 5rem; font-size: .85rem;
  }
  .meanings { grid-template-columns: 1fr; }
  .meanings dd { margin-bottom: .6rem; }
  .groups .interval, .groups .mark { font-size: .75rem; }
}
@media print {
  ins, del { color: #000; }
  details::details-content { content-visibility: visible; block-size: auto; }
  .groups th[scope=row] { position: static; }
}
"""
