// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/internal/logging"
)

// newCompletion prints what a shell has to read to complete command lines of weir.
func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "Print a script that makes a shell complete command lines of weir",
		Long: `Print a script that makes a shell complete command lines of weir: commands, flags, the values of flags that
take one of a few, and files where files are wanted. The shell reads it once for each session, or on its start
from where it looks for such scripts.`,
		Example: `  weir completion bash > /etc/bash_completion.d/weir
  weir completion zsh > "${fpath[1]}/_weir"
  weir completion fish > ~/.config/fish/completions/weir.fish
  source <(weir completion bash)`,
		ValidArgs:             []string{"bash", "zsh", "fish"},
		Args:                  cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			default:
				return root.GenFishCompletion(out, true)
			}
		},
	}
}

// completeFlags says what the flags of a command that runs proxies take.
func completeFlags(cmd *cobra.Command) {
	few := map[string][]string{
		"mode":           {string(flags.Serve), string(flags.Validate)},
		"log-level":      logging.LevelNames(),
		"drain-strategy": {string(flags.Gradual), string(flags.Immediate)},
	}
	files := map[string][]string{"config-path": {"yaml", "yml", "json"}, "log-path": nil, "admin-address-path": nil}
	for name, values := range few {
		complete(cmd, name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	for name, endings := range files {
		if endings == nil {
			complete(cmd, name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
		} else {
			complete(cmd, name, cobra.FixedCompletions(endings, cobra.ShellCompDirectiveFilterFileExt))
		}
	}
	// All others take what nobody can guess, least of all the name of a file.
	for _, name := range []string{
		"config-yaml", "component-log-level", "log-format", "drain-time-s", "service-node", "service-cluster", "service-zone", "concurrency",
	} {
		complete(cmd, name, cobra.NoFileCompletions)
	}
}

// complete sets how a flag's value is completed, if the command has the flag.
func complete(cmd *cobra.Command, name string, f cobra.CompletionFunc) {
	if cmd.Flags().Lookup(name) == nil {
		return
	}
	if err := cmd.RegisterFlagCompletionFunc(name, f); err != nil {
		panic(fmt.Sprintf("BUG: complete --%s: %v", name, err))
	}
}
