/** What measurements have in common: a result, repetitions, medians, and tables in Markdown. */

/** One repetition's result. */
export interface Sample {
  /** In the unit of the case. */
  value: number;
  /** CPU microseconds for one operation, of the process that is measured or of the whole machine. */
  cpuUs: number;
  /** Further numbers, for the JSON file. */
  details?: Record<string, number>;
}

/** All repetitions of one case by one subject. */
export interface Series {
  name: string;
  subject: string;
  unit: string;
  samples: Sample[];
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

/**
 * Runs every case for every subject, `reps` times: subjects of one case one after the other, in turning order. The
 * machine's moods then meet all subjects of a case alike.
 */
export async function alternate(
  cases: { name: string; unit: string }[],
  subjects: string[],
  options: { reps: number; measure: (name: string, subject: string) => Promise<Sample> },
): Promise<Series[]> {
  const all = cases.flatMap((one) => subjects.map((subject): Series => ({ ...one, subject, samples: [] })));
  for (let rep = 0; rep < options.reps; rep++) {
    for (const one of cases) {
      const series = all.filter((series) => series.name === one.name);
      for (const each of rep % 2 === 0 ? series : series.toReversed()) {
        each.samples.push(await options.measure(each.name, each.subject));
      }
    }
  }
  return all;
}

/**
 * A table of all series, one line a case, with the first subject's ratios to each of the others. `details` are further
 * numbers of the samples, by the words that stand above them.
 */
export function table(series: Series[], details: Readonly<Record<string, string>> = {}): string {
  const subjects = [...new Set(series.map((one) => one.subject))];
  const names = [...new Set(series.map((one) => one.name))];
  const head = ["case", "unit", ...subjects.flatMap((subject) => [subject, "±", ...Object.keys(details), "CPU µs"])];
  const others = subjects.slice(1);
  const over = (subject: string) => others.length === 1 ? "" : ` to ${subject}`;
  head.push(...others.flatMap((subject) => [`ratio${over(subject)}`, `CPU ratio${over(subject)}`]));
  const rows = names.map((name) => {
    const found = subjects.map((subject) => series.find((one) => one.name === name && one.subject === subject)!);
    const cells = [name, found[0]!.unit, ...found.flatMap((one) => seriesCells(one, Object.values(details)))];
    return [...cells, ...found.slice(1).flatMap((other) => ratioCells(found[0]!, other))];
  });
  return markdown([head, ...rows]);
}

function seriesCells({ samples }: Series, details: string[]): string[] {
  const values = samples.map((sample) => sample.value);
  const further = details.map((name) => short(median(samples.map((sample) => sample.details![name]!))));
  return [short(median(values)), `${Math.round(spread(values) * 100)} %`, ...further, short(median(cpuOf(samples)))];
}

function ratioCells(over: Series, under: Series): string[] {
  const valuesOf = ({ samples }: Series) => samples.map((sample) => sample.value);
  return [
    pairedRatio(valuesOf(over), valuesOf(under)).toFixed(2),
    pairedRatio(cpuOf(over.samples), cpuOf(under.samples)).toFixed(2),
  ];
}

function cpuOf(samples: Sample[]): number[] {
  return samples.map((sample) => sample.cpuUs);
}

/** Three digits that matter. */
function short(value: number): string {
  if (value >= 100 || value === 0) return value.toFixed(0);
  return value.toPrecision(3);
}

function markdown(rows: string[][]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const line = (row: string[]) => `| ${row.map((cell, i) => pad(cell, widths[i]!, i)).join(" | ")} |`;
  const rule = `|${widths.map((width, i) => "-".repeat(width + 1) + (i < 2 ? "-" : ":")).join("|")}|`;
  return [line(rows[0]!), rule, ...rows.slice(1).map(line)].join("\n");
}

function pad(cell: string, width: number, column: number): string {
  return column < 2 ? cell.padEnd(width) : cell.padStart(width);
}
