import { Argument, type Command } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import { quote } from "../base/text.ts";
import { parseSize } from "../base/units.ts";
import { ANA_NAMES } from "../serve/ana_names.ts";
import type { PortalName, TargetApi, TargetMethod } from "../serve/api.ts";
import { NSID_RANGE } from "../host/ranges.ts";
import { faultHelp } from "../target/fault_words.ts";
import { askTarget, findTarget, runningTargets, type TargetChoice } from "../serve/target_client.ts";
import type { Context, Declare } from "./commands.ts";
import { newFaultSeed, parseFaultSeed, readFaultScript } from "./fault_options.ts";
import { commandHelp, withDefault } from "./help.ts";
import { parseAna, parseListenSpec } from "./listen_spec.ts";
import { oneOf, wholeNumber } from "./option_words.ts";
import { parsePortal } from "./path_spec.ts";
import { faultLines, listenerWords, targetDetails, targetLines } from "./target_text.ts";

const PID_MAX = 2 ** 22;
const END_MS_MAX = 40_000;
const POLL_MS = 20;

/** The word that ends all faults. */
const CLEAR = "clear";

const FAULT_EXAMPLES = [
  "umpath target fault",
  "umpath target fault 1:delay=5ms..50ms,op=read,chance=0.1 2:down,at=1s,for=3s",
  "umpath target fault clear",
];

const HELP = commandHelp({
  notes: [
    "A target is a running umpath serve. Where more than one runs on this host, --nqn or --pid says which is meant. " +
    "A listener is named by its address and port. Removing one closes its connections at once, which is how a path " +
    "fails; adding it brings the path back.",
  ],
  examples: [
    "umpath target show",
    "umpath target ana 127.0.0.1:4420 inaccessible",
    "umpath target listener remove 127.0.0.2:4420",
    "umpath target listener add 127.0.0.2:4420,ana=non-optimized",
    "umpath target resize 1 2G",
    "umpath target fault 2:stall,for=3s",
  ],
});

/** `umpath target` */
export const declare: Declare = (command, context) => {
  command.description("Show and change the targets that umpath serve runs on this host.").addHelpText("after", HELP);
  declareList(command, context);
  declareShow(command, context);
  declareAna(command, context);
  declareResize(command, context);
  declareListener(command, context);
  declareFault(command, context);
  declareStop(command, context);
};

/** A verb with the options that say which target is meant. */
function verb<const N extends string>(command: Command, name: N, description: string) {
  return command.command(name).summary(description).description(
    `${description[0]!.toUpperCase()}${description.slice(1)}.`,
  )
    .option("--nqn <nqn>", "the target that serves this subsystem")
    .option("--pid <number>", "the target of this process", wholeNumber("--pid", { min: 1, max: PID_MAX }));
}

function declareList(command: Command, { output }: Context): void {
  command.command("list").summary("list the targets, one a line")
    .description("List the targets, one a line: NQN, process, namespaces, listeners, controllers.")
    .action(async () => {
      const targets = await runningTargets();
      if (output.json) output.object({ targets });
      else if (targets.length === 0) output.note("No target runs");
      else targetLines(targets).forEach((line) => output.line(line));
    });
}

function declareShow(command: Command, { output }: Context): void {
  verb(command, "show", "show a target with its namespaces, listeners and controllers").action(async (choice) => {
    const isAll = choice.nqn === undefined && choice.pid === undefined;
    const targets = isAll ? await runningTargets() : [await findTarget(choice)];
    if (output.json) output.object({ targets });
    else if (targets.length === 0) output.note("No target runs");
    else output.line(targets.map((target) => targetDetails(target).join("\n")).join("\n\n"));
  });
}

function declareAna(command: Command, { output }: Context): void {
  verb(command, "ana", "change the ANA state of a listener")
    .argument("<listener>", "its address and port", parseListener)
    .addArgument(new Argument("<state>", "the state").choices(ANA_NAMES).argParser(parseAna))
    .action(async (portal, ana, choice) => {
      const listener = await ask(choice, "ana", { ...portal, ana });
      if (output.json) output.object({ listener });
      else output.note(`${listenerWords(listener)} is ${listener.ana}`);
    });
}

function declareResize(command: Command, { output }: Context): void {
  verb(command, "resize", "change the size of a namespace")
    .argument("<nsid>", "its number", wholeNumber("the namespace", NSID_RANGE))
    .argument("<size>", "its new size", (word) => parseSize(word, "the size"))
    .action(async (nsid, sizeBytes, choice) => {
      if (sizeBytes === 0) throw new UmpathError("usage", `Cannot make namespace ${nsid} 0 bytes large`);
      const namespace = await ask(choice, "resize", { nsid, sizeBytes });
      if (output.json) output.object({ namespace });
      else output.note(`Namespace ${nsid} has ${namespace.sizeBytes} bytes`);
    });
}

function declareListener(command: Command, { output }: Context): void {
  const verbs = ["add", "remove"] as const;
  verb(command, "listener", "add or remove a listener")
    .addArgument(new Argument("<verb>", "what to do").choices(verbs).argParser(oneOf("the verb", verbs)))
    .argument("<listener>", "address and port; to add one, ,ana=STATE may follow")
    .action(async (what, word, choice) => {
      if (what === "remove") {
        const portal = parseListener(word);
        await ask(choice, "listener-remove", portal);
        if (output.json) output.object({ listener: null });
        else output.note(`Removed ${listenerWords(portal)}`);
        return;
      }
      const listener = await ask(choice, "listener-add", parseListenSpec(word));
      if (output.json) output.object({ listener });
      else output.line(`tcp://${listenerWords(listener)}`);
    });
}

function declareFault(command: Command, { output }: Context): void {
  verb(command, "fault", "do wrong on demand, for tests")
    .argument("[faults...]", `what goes wrong from now on, instead of what did before; ${CLEAR}: nothing`)
    .option("--fault-script <file>", "do wrong what the lines of this file say", readFaultScript)
    .option("--fault-seed <number>", withDefault("what faults by chance draw from", "a new one"), parseFaultSeed)
    .addHelpText("after", () => `\n${faultHelp().join("\n")}\n${commandHelp({ examples: FAULT_EXAMPLES })()}`)
    .action(async (words, { faultScript = [], faultSeed, ...choice }) => {
      const isClear = words.length === 1 && words[0] === CLEAR && faultScript.length === 0;
      const faults = isClear ? [] : [...faultScript, ...words];
      const isQuestion = faults.length === 0 && !isClear;
      if (isQuestion && faultSeed !== undefined) throw new UmpathError("usage", "Cannot use a seed: no fault is given");
      const info = isQuestion
        ? await ask(choice, "faults", {})
        : await ask(choice, "set-faults", { faults, seed: faultSeed ?? newFaultSeed() });
      if (output.json) output.object({ ...info });
      else if (info.faults.length === 0) output.note("Nothing goes wrong");
      else faultLines(info).forEach((line) => output.line(line));
    });
}

function declareStop(command: Command, { output }: Context): void {
  verb(command, "stop", "end a target in order").action(async (choice) => {
    const target = await findTarget(choice);
    await askTarget(target, "stop", {});
    await ended(target.pid);
    if (output.json) output.object({ stopped: { nqn: target.nqn, pid: target.pid } });
    else output.note(`Stopped ${target.nqn}`);
  });
}

async function ended(pid: number): Promise<void> {
  for (const startMs = performance.now(); performance.now() - startMs < END_MS_MAX;) {
    if (!processLives(pid)) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new UmpathError("timed-out", `The target of process ${pid} did not end within ${END_MS_MAX / 1000} s`);
}

function processLives(pid: number): boolean {
  try {
    const state = /\) (\S)/.exec(Deno.readTextFileSync(`/proc/${pid}/stat`))?.[1];
    return state !== "Z" && state !== "X";
  } catch {
    return false;
  }
}

function parseListener(word: string): PortalName {
  const portal = parsePortal(word, "the listener");
  if (portal.trsvcid > 0) return portal;
  throw new UmpathError("usage", `Cannot use the listener ${quote(word)}: none has port 0`, {
    hint: "umpath target show names those that are",
  });
}

async function ask<M extends TargetMethod>(
  choice: TargetChoice,
  method: M,
  params: TargetApi[M]["params"],
): Promise<TargetApi[M]["result"]> {
  return await askTarget(await findTarget(choice), method, params);
}
