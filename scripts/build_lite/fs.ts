/** Stand-in for node:fs in the packed binary: Commander needs it only for subcommands that are programs of their own. */

export default {};
