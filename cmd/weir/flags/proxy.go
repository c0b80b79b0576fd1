// SPDX-License-Identifier: Apache-2.0

// Package flags reads the command line of "weir proxy", which is Envoy's, so that a container's arguments
// need no change. Every flag of Envoy is known: it is honoured, or accepted with a notice that says why it
// has no effect here, or refused with the reason; none is ignored in silence.
//
// The package only reads: it opens no file and starts nothing.
package flags

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	rlsconfv3 "github.com/envoyproxy/go-control-plane/ratelimit/config/ratelimit/v3"
	"github.com/spf13/pflag"
	"weir.dev/weir/internal/logging"
	"weir.dev/weir/proxy/ratelimit"
)

// A Mode is what "weir proxy" does with its configuration.
type Mode string

// The modes.
const (
	Serve    Mode = "serve"    // load, check, bind and serve
	Validate Mode = "validate" // load and check, bind nothing, and tell by the exit status
)

// A DrainStrategy is how eagerly connections are asked to close while a proxy drains.
type DrainStrategy string

// The strategies of Envoy's --drain-strategy.
const (
	Gradual   DrainStrategy = "gradual"   // more and more responses ask for it as the drain time passes
	Immediate DrainStrategy = "immediate" // every response asks for it
)

// Proxy is the command line of "weir proxy", checked.
type Proxy struct {
	// ConfigPath is the bootstrap file; "-" is standard input. At least one of it and ConfigYAML is set.
	ConfigPath string
	// ConfigYAML is YAML or JSON that is merged over the file.
	ConfigYAML string
	// Mode is Serve unless told otherwise.
	Mode Mode
	// AdminAddressPath is a file to write the admin's address to once it is bound; empty for none.
	AdminAddressPath string
	// Log holds the format and the levels; its Now is nil.
	Log logging.Options
	// LogPath is the log's file; empty for standard error.
	LogPath string
	// DrainTime is the longest that draining may take; 600 s unless told otherwise.
	DrainTime time.Duration
	// DrainStrategy is Gradual unless told otherwise.
	DrainStrategy DrainStrategy
	// ServiceNode, ServiceCluster and ServiceZone override node.id, node.cluster and node.locality.zone.
	ServiceNode, ServiceCluster, ServiceZone string
	// Concurrency is the number of workers; 0 means one per CPU this process may use.
	Concurrency int
	// ShowVersion and ShowHotRestartVersion ask to print the version, or Envoy's answer to the question of
	// hot restart compatibility, and to end.
	ShowVersion, ShowHotRestartVersion bool
	// Limiter is no flag: the rate limiter of this process, for all proxies in it; nil is none.
	Limiter ratelimit.Limiter
	// Limits is told what a control plane has the Limiter know: proxy.Options has more.
	Limits func([]*rlsconfv3.RateLimitConfig) error
	// Notices are sentences for the log: one for each flag that was given and has no effect.
	Notices []string
}

// A Set is a set of flags to parse a command line with.
type Set struct {
	fs            *pflag.FlagSet
	files         bool // the configuration is named by arguments, not by flags
	out           Proxy
	mode          string
	level         string
	components    string
	drain         uint32
	drainStrategy string
	concurrency   uint32
	refusals      []func() error
}

// Add defines Envoy's flags on fs.
func Add(fs *pflag.FlagSet) *Set {
	s := &Set{fs: fs}
	o := &s.out
	fs.SortFlags = false
	fs.StringVarP(&o.ConfigPath, "config-path", "c", "", "bootstrap `file`, YAML or JSON; - reads standard input")
	fs.StringVar(&o.ConfigYAML, "config-yaml", "", "bootstrap as `YAML`; with a file, merged over it")
	fs.StringVar(&s.mode, "mode", string(Serve), "`serve`, or validate: check the configuration and end")
	fs.StringVar(&o.AdminAddressPath, "admin-address-path", "", "`file` to write the admin's address to")
	s.addShared()
	fs.StringVar(&o.ServiceNode, "service-node", "", "node `id`; overrides the bootstrap's")
	fs.StringVar(&o.ServiceCluster, "service-cluster", "", "node cluster `name`; overrides the bootstrap's")
	fs.StringVar(&o.ServiceZone, "service-zone", "", "node `zone`; overrides the bootstrap's")
	fs.BoolVar(&o.ShowVersion, "version", false, "print the version and end")
	fs.BoolVar(&o.ShowHotRestartVersion, "hot-restart-version", false, "print the hot restart version, which is disabled, and end")
	s.addInert()
	s.addRefused()
	return s
}

// AddShared defines those of Envoy's flags that mean something to any number of proxies in one process: the
// log's, the drain's, and the number of workers. Their configuration is named by arguments.
func AddShared(fs *pflag.FlagSet) *Set {
	s := &Set{fs: fs, files: true, mode: string(Serve)}
	fs.SortFlags = false
	s.addShared()
	fs.StringVar(&s.out.ServiceZone, "service-zone", "", "`zone` that this is in, which may be region/zone/subzone: requests of objects that ask for it stay near")
	return s
}

// AddLog defines those of Envoy's flags that are about the log.
func AddLog(fs *pflag.FlagSet) *Set {
	s := &Set{fs: fs, files: true, mode: string(Serve), drainStrategy: string(Gradual)}
	fs.SortFlags = false
	s.addLog()
	return s
}

func (s *Set) addLog() {
	fs, o := s.fs, &s.out
	fs.StringVarP(&s.level, "log-level", "l", "info", "one of "+strings.Join(logging.LevelNames(), ", "))
	fs.StringVar(&s.components, "component-log-level", "", "levels of single components, such as `upstream:debug,admin:off`")
	fs.StringVar(&o.Log.Format, "log-format", logging.DefaultFormat, "`pattern` of a log line, or json")
	fs.StringVar(&o.LogPath, "log-path", "", "log to this `file`, opened anew on SIGUSR1")
}

func (s *Set) addShared() {
	s.addLog()
	fs := s.fs
	fs.Uint32Var(&s.drain, "drain-time-s", 600, "longest time in `seconds` that draining may take")
	fs.StringVar(&s.drainStrategy, "drain-strategy", string(Gradual), "`gradual` or immediate: how soon connections are asked to close")
	fs.Uint32Var(&s.concurrency, "concurrency", 0, "number of `workers` (default: one per CPU)")
}

// Proxy checks what was parsed. Its error names the flag and what would be right.
func (s *Set) Proxy() (*Proxy, error) {
	o := s.out
	for _, refuse := range s.refusals {
		if err := refuse(); err != nil {
			return nil, err
		}
	}
	var err error
	if o.Log.Level, err = logging.ParseLevel(s.level); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	if o.Log.Components, err = logging.ParseComponentLevels(s.components); err != nil {
		return nil, fmt.Errorf("--component-log-level: %w", err)
	}
	if err := logging.CheckFormat(o.Log.Format); err != nil {
		return nil, fmt.Errorf("--log-format: %w", err)
	}
	switch o.Mode = Mode(s.mode); o.Mode {
	case Serve, Validate:
	case "init_only":
		return nil, fmt.Errorf("--mode init_only: there is no such mode: use validate, which also compiles the whole configuration")
	default:
		return nil, fmt.Errorf("--mode %q: use serve or validate", s.mode)
	}
	switch o.DrainStrategy = DrainStrategy(s.drainStrategy); o.DrainStrategy {
	case Gradual, Immediate:
	default:
		return nil, fmt.Errorf("--drain-strategy %q: use gradual or immediate", s.drainStrategy)
	}
	o.DrainTime = time.Duration(s.drain) * time.Second
	o.Concurrency = int(s.concurrency)
	if s.fs.Changed("concurrency") {
		o.Concurrency = max(1, o.Concurrency) // Envoy runs one worker when told to run none.
	}
	if s.concurrency > math.MaxInt16 {
		return nil, fmt.Errorf("--concurrency %d: at most %d workers", s.concurrency, math.MaxInt16)
	}
	if !s.files && o.ConfigPath == "" && o.ConfigYAML == "" && !o.ShowVersion && !o.ShowHotRestartVersion {
		return nil, fmt.Errorf("no configuration: give --config-path FILE, --config-yaml YAML or both")
	}
	o.Notices = s.notices()
	return &o, nil
}

// Notify logs the notices.
func (p *Proxy) Notify(log *slog.Logger) {
	for _, n := range p.Notices {
		log.Warn(n)
	}
}
