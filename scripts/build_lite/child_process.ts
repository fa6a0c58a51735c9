/** Stand-in for node:child_process in the packed binary: needed only for subcommands that are programs of their own. */

export default {};
