import { Argument, type Command, Option } from "@commander-js/extra-typings";
import { UmpathError } from "../base/errors.ts";
import { listWords, quote } from "../base/text.ts";
import { parseSize } from "../base/units.ts";
import { ANA_NAMES } from "../rpc/ana_names.ts";
import { NSID_RANGE } from "../rpc/ranges.ts";
import type { FaultsInfo, ListenSpec, PortalName, TargetApi, TargetMethod } from "../rpc/target_api.ts";
import { faultHelp } from "../nvme_target/fault_words.ts";
import { askTarget, findTarget, runningTargets, type TargetChoice } from "../serve/target_client.ts";
import type { Context, Declare } from "./commands.ts";
import { newFaultSeed, parseFaultSeed, readFaultScript } from "./fault_options.ts";
import { commandHelp, withDefault } from "./help.ts";
import { parseAna, parseListenSpec } from "./listen_spec.ts";
import { wholeNumber } from "./option_words.ts";
import { parsePortal } from "./path_spec.ts";
import { faultLines, listenerWords, resizedWords, targetDetails, targetLines } from "./target_text.ts";
import type { Output } from "./output.ts";
import { completedBy } from "./word_sources.ts";

const PID_MAX = 2 ** 22;
const END_MS_MAX = 40_000;
const POLL_MS = 20;

/** The word that ends all faults. */
const CLEAR = "clear";

const { form, kinds, keys } = faultHelp();
const FAULT_HELP = commandHelp({
  notes: [form],
  tables: [{ title: "Kinds:", rows: kinds }, { title: "Keys:", rows: keys }],
  examples: [
    "umpath target fault",
    "umpath target fault 1:delay=5ms..50ms,op=read,chance=0.1 2:down,at=1s,for=3s",
    "umpath target fault clear",
  ],
});

const LISTEN_NOTE = "The port is 4420 by default; 0 picks a free port, and the address with that port is printed on " +
  "stdout. The ANA state is optimized by default.";
const LISTENER_ADD_EXAMPLES = ["umpath target listener add 127.0.0.2:4420,ana=non-optimized"];
const LISTENER_REMOVE_EXAMPLES = ["umpath target listener remove 127.0.0.2:4420"];

const HELP = commandHelp({
  notes: [
    "A target is a running umpath serve. If more than one runs on this host, choose one with --nqn or --pid. A listener " +
    "is named by its address and port. Removing a listener closes its connections at once, as when a path fails; adding " +
    "it brings the path back.",
    "umpath target COMMAND --help says more about each command.",
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

const CHOICE_NOTE = "If more than one target runs on this host, choose one with --nqn or --pid.";

/** A verb with the options that say which target is meant. */
function verb<const N extends string>(command: Command, name: N, description: string) {
  return command.command(name).summary(description).description(
    `${description[0]!.toUpperCase()}${description.slice(1)}.`,
  )
    .addOption(completedBy(new Option("--nqn <nqn>", "the target that serves this subsystem"), "target-nqns"))
    .addOption(completedBy(
      new Option("--pid <number>", "the target with this process ID")
        .argParser<number>(wholeNumber("--pid", { min: 1, max: PID_MAX })),
      "target-pids",
    ));
}

function listenerArgument(description: string) {
  return completedBy(new Argument("<listener>", description).argParser<PortalName>(parseListener), "listeners");
}

function declareList(command: Command, { output }: Context): void {
  command.command("list").summary("list the running targets")
    .description("List the running targets, one on each line: NQN, process, namespaces, listeners, controllers.")
    .addHelpText(
      "after",
      commandHelp({
        notes: ["A target is a running umpath serve of this host and this run folder."],
        examples: ["umpath target list", "umpath target list --json | jq -r '.targets[].nqn'"],
      }),
    )
    .action(async () => {
      const targets = await runningTargets((error) => output.warn(error.message));
      if (output.json) output.object({ targets });
      else if (targets.length === 0) output.note("No target is running");
      else targetLines(targets).forEach((line) => output.line(line));
    });
}

function declareShow(command: Command, { output }: Context): void {
  const help = commandHelp({
    notes: ["Without --nqn and --pid, every target of this host is shown."],
    examples: ["umpath target show", "umpath target show --nqn nqn.2026-11.com.example:vol1"],
  });
  verb(command, "show", "show a target with its namespaces, listeners and controllers").addHelpText("after", help)
    .action(async (choice) => {
      const isAll = choice.nqn === undefined && choice.pid === undefined;
      const targets = isAll ? await runningTargets((error) => output.warn(error.message)) : [await findTarget(choice)];
      if (output.json) output.object({ targets });
      else if (targets.length === 0) output.note("No target is running");
      else output.line(targets.map((target) => targetDetails(target).join("\n")).join("\n\n"));
    });
}

function declareAna(command: Command, { output }: Context): void {
  const help = commandHelp({
    notes: ["Hosts see the new state on every path to this listener.", CHOICE_NOTE],
    examples: [
      "umpath target ana 127.0.0.1:4420 inaccessible",
      "umpath target ana 127.0.0.1:4420 optimized --nqn nqn.2026-11.com.example:vol1",
    ],
  });
  verb(command, "ana", "change the ANA state of a listener")
    .addArgument(listenerArgument("address and port of the listener"))
    .addArgument(new Argument("<state>", "new ANA state").choices(ANA_NAMES).argParser(parseAna))
    .addHelpText("after", help)
    .action(async (portal, ana, choice) => {
      const target = await findTarget(choice);
      const listener = await askTarget(target, "ana", { ...portal, ana });
      if (output.json) return output.object({ listener });
      const words = listenerWords(listener);
      const before = target.listeners.find((one) => listenerWords(one) === words);
      output.done(words, `ANA state set to ${listener.ana}`, { changed: before?.ana !== listener.ana });
    });
}

function declareResize(command: Command, { output }: Context): void {
  const help = commandHelp({
    notes: [
      "Connected hosts see the new size at once. What a smaller namespace had at its end is lost, unless it is a block " +
      "device, which keeps its size.",
      CHOICE_NOTE,
    ],
    examples: ["umpath target resize 1 2G"],
  });
  verb(command, "resize", "change the size of a namespace")
    .addArgument(completedBy(
      new Argument("<nsid>", "number of the namespace")
        .argParser<number>(wholeNumber("the namespace", NSID_RANGE)),
      "namespaces",
    ))
    .argument("<size>", "new size, such as 512M or 2G", (word) => parseSize(word, "the size"))
    .option("--shrink", "make it smaller even though what it has at its end is lost")
    .addHelpText("after", help)
    .action(async (nsid, sizeBytes, { shrink = false, ...choice }) => {
      const namespace = await ask(choice, "resize", { nsid, sizeBytes, shrink });
      if (output.json) return output.object({ namespace });
      output.done(`namespace ${nsid}`, resizedWords(namespace), {
        changed: namespace.sizeBytes !== namespace.wasBytes,
      });
    });
}

function declareListener(command: Command, { output }: Context): void {
  const listener = command.command("listener").summary("add or remove a listener")
    .description("Add or remove a listener.")
    .addHelpText("after", commandHelp({ examples: [...LISTENER_ADD_EXAMPLES, ...LISTENER_REMOVE_EXAMPLES] }));
  verb(listener, "add", "add a listener")
    .addArgument(completedBy(
      new Argument("<listener>", "ADDR[:PORT][,ana=STATE]").argParser<ListenSpec>(parseListenSpec),
      "host-addresses",
    ))
    .addHelpText("after", commandHelp({ notes: [LISTEN_NOTE, CHOICE_NOTE], examples: LISTENER_ADD_EXAMPLES }))
    .action(async (spec, choice) => {
      const made = await ask(choice, "listener-add", spec);
      if (output.json) return output.object({ listener: made });
      output.done(listenerWords(made), `listener added, ${made.ana}`);
      if (spec.trsvcid === 0) output.line(`tcp://${listenerWords(made)}`);
    });
  verb(listener, "remove", "remove a listener and close its connections")
    .addArgument(listenerArgument("address and port of the listener"))
    .addHelpText("after", commandHelp({ notes: [CHOICE_NOTE], examples: LISTENER_REMOVE_EXAMPLES }))
    .action(async (portal, choice) => {
      await ask(choice, "listener-remove", portal);
      if (output.json) output.object({ listener: null });
      else output.done(listenerWords(portal), "listener removed");
    });
}

function declareFault(command: Command, { output }: Context): void {
  const faults = new Argument("[faults...]", `faults to inject instead of those before; ${CLEAR} ends all`);
  const script = new Option("--fault-script <file>", "inject the faults in this file, one on each line");
  verb(command, "fault", "show or inject faults, for testing")
    .addArgument(completedBy(faults, "faults"))
    .addOption(completedBy(script.argParser<string[]>(readFaultScript), "files"))
    .option("--fault-seed <number>", withDefault("seed of faults with a chance", "a new one"), parseFaultSeed)
    .addHelpText("after", FAULT_HELP)
    .action(async (words, { faultScript = [], faultSeed, ...choice }) => {
      const isClear = words.length === 1 && words[0] === CLEAR && faultScript.length === 0;
      const faults = isClear ? [] : [...faultScript, ...words];
      const isQuestion = faults.length === 0 && !isClear;
      if (isQuestion && faultSeed !== undefined) {
        throw new UmpathError("usage", "Cannot use --fault-seed: no fault is given");
      }
      if (isQuestion) return showFaults(await ask(choice, "faults", {}), output);
      const target = await findTarget(choice);
      const before = await askTarget(target, "faults", {});
      const info = await askTarget(target, "set-faults", { faults, seed: faultSeed ?? newFaultSeed() });
      if (output.json) return output.object({ ...info });
      if (isClear) return output.done("faults", "cleared", { changed: before.faults.length > 0 });
      output.done("faults", `${listWords(info.faults.map((fault) => fault.words))} injected, seed ${info.seed}`);
    });
}

function showFaults(info: FaultsInfo, output: Output): void {
  if (output.json) output.object({ ...info });
  else if (info.faults.length === 0) output.note("No faults are injected");
  else faultLines(info).forEach((line) => output.line(line));
}

function declareStop(command: Command, { output }: Context): void {
  const help = commandHelp({
    notes: ["The target closes its listeners and connections, writes its files back and ends.", CHOICE_NOTE],
    examples: ["umpath target stop", "umpath target stop --nqn nqn.2026-11.com.example:vol1"],
  });
  verb(command, "stop", "stop a target").addHelpText("after", help).action(async (choice) => {
    const target = await findTarget(choice);
    await askTarget(target, "stop", {});
    await ended(target.pid);
    if (output.json) output.object({ stopped: { nqn: target.nqn, pid: target.pid } });
    else output.done(target.nqn, "stopped");
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
    hint: "umpath target show lists the listeners",
  });
}

async function ask<M extends TargetMethod>(
  choice: TargetChoice,
  method: M,
  params: TargetApi[M]["params"],
): Promise<TargetApi[M]["result"]> {
  return await askTarget(await findTarget(choice), method, params);
}
