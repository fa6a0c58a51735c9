/**
 * What the shells are told. Each script hands the line up to the cursor to `umpath complete`, as one word that is never
 * evaluated, and gets back lines of a candidate, a tab and its description.
 */

/** The shells that there is a script for. */
export const SHELLS = Object.freeze(["bash", "zsh", "fish"] as const);

const BASH = `# bash completion of umpath
_umpath() {
  local line="\${COMP_LINE:0:COMP_POINT}" candidate
  local word="\${line##*[[:space:]]}"
  # Bash breaks words at : and = too and completes only what follows the last of them.
  local head="\${word%"\${word##*[=:]}"}"
  COMPREPLY=()
  while IFS=$'\\t' read -r candidate _; do
    COMPREPLY+=("\${candidate#"$head"}")
  done < <(umpath complete -- "$line" 2>/dev/null)
  [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -F _umpath umpath
`;

const ZSH = `#compdef umpath
_umpath() {
  local -a described
  local candidate description
  while IFS=$'\\t' read -r candidate description; do
    described+=("\${candidate//:/\\\\:}:$description")
  done < <(umpath complete -- "\${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)
  _describe umpath described
}
if [[ "$funcstack[1]" = _umpath ]]; then _umpath "$@"; else compdef _umpath umpath; fi
`;

const FISH = `# fish completion of umpath
complete -c umpath -f -a '(umpath complete -- (commandline -cp | string collect) 2>/dev/null)'
`;

/** The script of each shell. */
export const COMPLETION_SCRIPTS: Readonly<Record<(typeof SHELLS)[number], string>> = Object.freeze({
  bash: BASH,
  zsh: ZSH,
  fish: FISH,
});
