
#compdef liqctl

_liqctl_completion() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _LIQCTL_COMPLETE=complete_zsh liqctl)
}

compdef _liqctl_completion liqctl

