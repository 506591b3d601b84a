# bash completion for tapline(1)

_tapline() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options=
  case $before in
    -c | --config) mapfile -t COMPREPLY < <(compgen -f -X '!*.y*ml' -- "$word"; compgen -d -- "$word") && return ;;
    --boards) mapfile -t COMPREPLY < <(compgen -d -- "$word") && return ;;
    --bias) mapfile -t COMPREPLY < <(compgen -W 'as-is disabled pull-up pull-down' -- "$word") && return ;;
    --board)
      mapfile -t COMPREPLY < <(compgen -W "$(cd /usr/share/tapline/boards 2>/dev/null && echo *.yaml | sed 's/\.yaml//g')" -- "$word")
      return
      ;;
    -d | --directory) mapfile -t COMPREPLY < <(compgen -d -- "$word") && return ;;
    --group) mapfile -t COMPREPLY < <(compgen -g -- "$word") && return ;;
    -n | --times | --on | --budget | --clients | --name | --client | --days) return ;;
  esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W 'run check plan lines safe blink watch passwd cert --help --version' -- "$word")
    return
  fi
  case ${COMP_WORDS[1]} in
    run | check | safe) options='--config --boards' ;;
    plan) options='--config --boards --json --budget --clients' ;;
    lines) options='--config --board --boards' ;;
    blink) options='--config --board --boards --times --on' ;;
    cert) options='--directory --name --client --renew --days --group' ;;
    watch) options='--config --board --boards --times --bias' ;;
    passwd)
      mapfile -t COMPREPLY < <(compgen -W '--create --batch --delete --iterations --help' -- "$word"; compgen -f -- "$word")
      return
      ;;
    *) return ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$options --help" -- "$word")
}

complete -o filenames -F _tapline tapline
