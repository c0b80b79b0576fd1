// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"fmt"

	"github.com/spf13/pflag"
)

// kind is the form of a flag's value.
type kind int

const (
	text   kind = iota // any text
	number             // an unsigned number
	list               // text that may be given several times
	toggle             // none
)

// inert is a flag of Envoy that is accepted and has no effect.
type inert struct {
	name   string
	kind   kind
	reason string
}

// inertFlags are Envoy's flags that people's manifests contain and that have nothing to act on here. The
// reason completes the sentence "--name has no effect: ...".
func inertFlags() []inert {
	const (
		noHotRestart = "there is no hot restart; a new process binds the same ports beside the old one"
		alwaysStrict = "unknown fields are always refused, with the nearest name that exists"
		noLimit      = "names and stats have no fixed limit"
		anyVersion   = "files of every version are read, and told apart by what is in them"
	)
	return []inert{
		{"parent-shutdown-time-s", number, noHotRestart},
		{"base-id", number, noHotRestart},
		{"base-id-path", text, noHotRestart},
		{"use-dynamic-base-id", toggle, noHotRestart},
		{"disable-hot-restart", toggle, noHotRestart},
		{"skip-hot-restart-on-no-parent", toggle, noHotRestart},
		{"skip-hot-restart-parent-stats", toggle, noHotRestart},
		{"socket-path", text, noHotRestart},
		{"socket-mode", text, noHotRestart},
		{"allow-unknown-fields", toggle, alwaysStrict},
		{"allow-unknown-static-fields", toggle, alwaysStrict},
		{"reject-unknown-dynamic-fields", toggle, alwaysStrict},
		{"ignore-unknown-dynamic-fields", toggle, alwaysStrict},
		{"skip-deprecated-logs", toggle, "a deprecated field is named once, when the configuration is loaded"},
		{"file-flush-interval-msec", number, "access log files are flushed in a rhythm of their own; see the guide on access logs"},
		{"file-flush-min-size-kb", number, "access log files are flushed in a rhythm of their own; see the guide on access logs"},
		{"local-address-ip-version", text, "the local address in headers and logs is always that of the connection itself"},
		{"cpuset-threads", toggle, "the number of workers always follows the CPUs this process may use"},
		{"enable-mutex-tracing", toggle, "mutex contention is always at /debug/pprof/mutex of the admin"},
		{"enable-core-dump", toggle, "set the environment variable GOTRACEBACK=crash for a core dump"},
		{"enable-fine-grain-logging", toggle, "log levels go by component; see --component-log-level"},
		{"log-format-escaped", toggle, "log lines are always escaped"},
		{"log-format-prefix-with-location", text, "put %s:%# into --log-format where the place in the source is wanted"},
		{"max-stats", number, noLimit},
		{"max-obj-name-len", number, noLimit},
		// Flags of Envoy's years of version 2.
		{"v2-config-only", toggle, anyVersion},
		{"bootstrap-version", number, anyVersion},
		{"use-libevent-buffers", text, "there is one kind of buffers"},
		{"use-fake-symbol-table", text, "there is one table of the names of stats"},
	}
}

func (s *Set) addInert() {
	for _, f := range inertFlags() {
		usage := "no effect: " + f.reason
		switch f.kind {
		case text:
			s.fs.String(f.name, "", usage)
		case number:
			s.fs.Uint32(f.name, 0, usage)
		case list:
			s.fs.StringArray(f.name, nil, usage)
		case toggle:
			s.fs.Bool(f.name, false, usage)
		}
		s.hide(f.name)
	}
}

// notices has one sentence for each inert flag that was given.
func (s *Set) notices() []string {
	var out []string
	for _, f := range inertFlags() {
		if s.fs.Changed(f.name) {
			out = append(out, fmt.Sprintf("--%s has no effect: %s", f.name, f.reason))
		}
	}
	return out
}

// addRefused defines the flags of Envoy that would change what is served or who may reach it, and that
// cannot be honoured: to go on without them would be to serve something else than was asked for.
func (s *Set) addRefused() {
	refuse := func(name string, k kind, usage string, when func(*pflag.Flag) error) {
		switch k {
		case number:
			s.fs.Uint32(name, 0, usage)
		case list:
			s.fs.StringArray(name, nil, usage)
		default:
			s.fs.String(name, "", usage)
		}
		s.hide(name)
		s.refusals = append(s.refusals, func() error {
			if f := s.fs.Lookup(name); f.Changed {
				return when(f)
			}
			return nil
		})
	}
	refuse("restart-epoch", number, "0: the first start", func(f *pflag.Flag) error {
		if f.Value.String() == "0" {
			return nil
		}
		return fmt.Errorf("--restart-epoch %s: there is no hot restart, and nobody would tell the parent to drain: "+
			"start without it, then send SIGTERM to the old process", f.Value)
	})
	refuse("stats-tag", list, "refused: set stats_config.stats_tags in the bootstrap", func(f *pflag.Flag) error {
		return fmt.Errorf("--stats-tag: set it in the bootstrap, as stats_config.stats_tags with tag_name and fixed_value")
	})
	refuse("disable-extensions", text, "refused: take the extensions out of the configuration", func(*pflag.Flag) error {
		return fmt.Errorf("--disable-extensions: an extension cannot be switched off for a process: take it out of the configuration")
	})
}

// hide keeps a flag out of the help text, where the flags that do something would drown among the others.
// "weir help envoy-flags" lists them.
func (s *Set) hide(name string) {
	s.fs.Lookup(name).Hidden = true
}

// Hidden lists the flags that the help text leaves out, one line each: name and what becomes of it.
func Hidden() []string {
	fs := pflag.NewFlagSet("weir proxy", pflag.ContinueOnError)
	Add(fs)
	var out []string
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			out = append(out, fmt.Sprintf("--%-32s %s", f.Name, f.Usage))
		}
	})
	return out
}
