/**
 * What the shells are told. Each script hands the line up to the cursor to `umpath complete`, as one word that is never
 * evaluated, and gets back lines of a candidate, a tab and its description. The candidate `:files` asks for file names.
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
    if [[ $candidate == :files ]]; then
      compopt -o filenames 2>/dev/null
      while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -f -- "\${word##*=}")
    else
      COMPREPLY+=("\${candidate#"$head"}")
    fi
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
    if [[ $candidate == :files ]]; then
      compset -P '*='
      _files
    else
      described+=("\${candidate//:/\\\\:}:$description")
    fi
  done < <(umpath complete -- "\${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)
  (( $#described )) && _describe umpath described
}
if [[ "$funcstack[1]" = _umpath ]]; then _umpath "$@"; else compdef _umpath umpath; fi
`;

const FISH = `# fish completion of umpath
function __umpath_complete
    for candidate in (umpath complete -- (commandline -cp | string collect) 2>/dev/null)
        if string match -q ':files*' -- $candidate
            __fish_complete_path (commandline -ct)
        else
            echo $candidate
        end
    end
end
complete -c umpath -f -a '(__umpath_complete)'
`;

/** The script of each shell. */
export const COMPLETION_SCRIPTS: Readonly<Record<(typeof SHELLS)[number], string>> = Object.freeze({
  bash: BASH,
  zsh: ZSH,
  fish: FISH,
});
