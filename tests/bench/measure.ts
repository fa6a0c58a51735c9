/** What measurements have in common: a result, repetitions, medians, and tables in Markdown. */

/** One repetition's result. */
export interface Sample {
  /** In the unit of the case. */
  value: number;
  /** CPU microseconds for one operation, which is CPU seconds for a million, of all processes that are measured. */
  cpuUs: number;
  /** Further numbers: those of {@linkcode DETAILS} stand in the table, all are in the JSON file. */
  details?: Record<string, number>;
}

/** Further columns of the table, for the samples that have them. */
export const DETAILS: Readonly<Record<string, string>> = {
  writeMs: "write ms",
  p50Us: "p50 µs",
  p99Us: "p99 µs",
  p999Us: "p99.9 µs",
  initiatorCpuUs: "initiator µs",
  targetCpuUs: "target µs",
  rssMiB: "RSS MiB",
  controllers: "controllers",
  connections: "connections",
  daemonIdlePercent: "daemon idle %",
  targetIdlePercent: "target idle %",
  returnS: "return s",
  detachS: "detach s",
};

/** All repetitions of one case by one subject. */
export interface Series {
  name: string;
  subject: string;
  unit: string;
  samples: Sample[];
  /** The median is to be below that. */
  below?: number;
}

/** The middle one, or the mean of the middle two. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Largest minus smallest, as a share of the median. */
export function spread(values: number[]): number {
  return (Math.max(...values) - Math.min(...values)) / median(values);
}

/** The ratio of two series: the median of the ratios of the repetitions, which ran one after the other. */
export function pairedRatio(over: number[], under: number[]): number {
  return median(over.slice(0, under.length).map((value, i) => value / under[i]!));
}

/** Whether a subject has a case at all, besides how it is measured. */
export interface AlternateOptions {
  reps: number;
  has?: (name: string, subject: string) => boolean;
  measure: (name: string, subject: string) => Promise<Sample>;
}

/**
 * Runs every case for every subject that has it, `reps` times: subjects of one case one after the other, in turning
 * order. The machine's moods then meet all subjects of a case alike.
 */
export async function alternate(
  cases: { name: string; unit: string }[],
  subjects: string[],
  { reps, has = () => true, measure }: AlternateOptions,
): Promise<Series[]> {
  const all = cases.flatMap(({ name, unit }) =>
    subjects.filter((subject) => has(name, subject)).map((subject): Series => ({ name, subject, unit, samples: [] }))
  );
  for (let rep = 0; rep < reps; rep++) {
    for (const one of cases) {
      const series = all.filter((series) => series.name === one.name);
      for (const each of rep % 2 === 0 ? series : series.toReversed()) {
        each.samples.push(await measure(each.name, each.subject));
      }
    }
  }
  return all;
}

/** Medians of earlier runs by case and subject, to stand beside those of now. */
export type Baseline = Readonly<Record<string, Readonly<Record<string, number>>>>;

/**
 * A table of all series, a line each. The first subject of a case is what the others are compared with: their lines
 * have how many times as much it does, and how many times the processor time that takes it.
 */
export function table(series: Series[], baseline: Baseline = {}): string {
  const details = Object.keys(DETAILS).filter((name) => series.some(({ samples }) => detailOf(samples, name) !== null));
  const names = [...new Set(series.map((one) => one.name))];
  const head = ["case", "subject", "unit", "median", "±", "CPU µs", ...details.map((name) => DETAILS[name]!)];
  const hasBaseline = series.some(({ name, subject }) => baseline[name]?.[subject] !== undefined);
  const hasGoal = series.some(({ below }) => below !== undefined);
  const rows = names.flatMap((name) => {
    const found = series.filter((one) => one.name === name);
    return found.map((one) => [
      ...seriesCells(one, details),
      ...(one === found[0] ? ["", ""] : ratioCells(found[0]!, one)),
      ...(hasBaseline ? [baselineCell(one, baseline)] : []),
      ...(hasGoal ? [goalCell(one)] : []),
    ]);
  });
  const further = [...(hasBaseline ? ["to baseline"] : []), ...(hasGoal ? ["goal"] : [])];
  return markdown([[...head, "ratio", "CPU ratio", ...further], ...rows]);
}

/** A table of shares, by what they are of. */
export function shares(title: string, of: { what: string; share: number }[]): string {
  const rows = of.map(({ what, share }) => [what, `${(share * 100).toFixed(1)} %`]);
  return markdown([[title, "share"], ...rows], 1);
}

function seriesCells({ name, subject, unit, samples }: Series, details: string[]): string[] {
  const values = samples.map((sample) => sample.value);
  const further = details.map((detail) => {
    const value = detailOf(samples, detail);
    return value === null ? "" : short(value);
  });
  const cpu = short(median(cpuOf(samples)));
  return [name, subject, unit, short(median(values)), `${Math.round(spread(values) * 100)} %`, cpu, ...further];
}

/** The median of a further number; null if a sample does not have it. */
function detailOf(samples: Sample[], name: string): number | null {
  const values = samples.map(({ details }) => details?.[name]);
  return values.every((value) => value !== undefined) && values.length > 0 ? median(values) : null;
}

function ratioCells(over: Series, under: Series): string[] {
  return [
    pairedRatio(valuesOf(over), valuesOf(under)).toFixed(2),
    pairedRatio(cpuOf(over.samples), cpuOf(under.samples)).toFixed(2),
  ];
}

function baselineCell(series: Series, baseline: Baseline): string {
  const before = baseline[series.name]?.[series.subject];
  return before === undefined ? "" : (median(valuesOf(series)) / before).toFixed(2);
}

function goalCell({ below, ...series }: Series): string {
  if (below === undefined) return "";
  return `< ${below}: ${median(valuesOf(series)) < below ? "yes" : "no"}`;
}

function valuesOf({ samples }: Pick<Series, "samples">): number[] {
  return samples.map((sample) => sample.value);
}

function cpuOf(samples: Sample[]): number[] {
  return samples.map((sample) => sample.cpuUs);
}

/** Three digits that matter. */
function short(value: number): string {
  if (value >= 100 || value === 0) return value.toFixed(0);
  return value.toPrecision(3);
}

/** Columns of words before those of numbers, in a table of series. */
const WORD_COLUMNS = 3;

function markdown(rows: string[][], wordColumns = WORD_COLUMNS): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: string[]) =>
    `| ${row.map((cell, i) => i < wordColumns ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join(" | ")} |`;
  const rule = `|${widths.map((width, i) => "-".repeat(width + 1) + (i < wordColumns ? "-" : ":")).join("|")}|`;
  return [line(rows[0]!), rule, ...rows.slice(1).map(line)].join("\n");
}
