// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"

	"github.com/spf13/cobra"

	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/cmd/weir/limits"
)

// addLimits defines the flags of the rate limiter that runs in a proxy's process.
func addLimits(cmd *cobra.Command) *limits.Options {
	o := limits.Default()
	f := cmd.Flags()
	f.StringArrayVar(&o.Paths, "ratelimit-config", nil, "`path` of limits for the cluster weir.limiter, which is a rate limit service in this process; may be repeated")
	o.Add(f, "ratelimit-")
	complete(cmd, "ratelimit-config", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	completeLimits(cmd, "ratelimit-")
	return &o
}

// completeLimits completes the flags of limits.Options, whose names begin with prefix.
func completeLimits(cmd *cobra.Command, prefix string) {
	for _, name := range []string{"redis", "redis-server-name", "redis-pool", "redis-timeout", "key-prefix", "counters"} {
		complete(cmd, prefix+name, cobra.NoFileCompletions)
	}
	for _, name := range []string{"redis-auth-file", "redis-ca", "redis-certificate", "redis-key"} {
		complete(cmd, prefix+name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	}
	complete(cmd, prefix+"redis-type", cobra.FixedCompletions([]cobra.Completion{"single", "cluster", "sentinel"}, cobra.ShellCompDirectiveNoFileComp))
}

// openLimits runs the limiter that flags ask for, or that objects may ask for, until close
// is called; l is nil if nobody does. One that is only checked asks no Redis.
func openLimits(o limits.Options, objects bool, f *flags.Proxy, log *slog.Logger) (l *limits.Limits, close func(), err error) {
	switch {
	case len(o.Paths) > 0 || objects:
	case o.Redis.URL != "":
		return nil, nil, errors.New("--ratelimit-redis: there are no limits to count: give --ratelimit-config")
	default:
		return nil, func() {}, nil
	}
	if f.Mode == flags.Validate {
		o.Redis.URL = ""
	}
	if l, err = limits.Open(o, log); err != nil {
		return nil, nil, err
	}
	f.Limiter = l.Local()
	return l, l.Close, nil
}
