// SPDX-License-Identifier: Apache-2.0

package health

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"weir.dev/weir/proxy/accesslog/logfile"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/upstream"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/ledger"
)

// A Factory makes checkers of one kind.
type Factory struct {
	// Name is Envoy's, such as envoy.health_checkers.http.
	Name string
	Kind Kind
	// Field is the field of HealthCheck that configures it, and Config returns it, nil if
	// another is set.
	Field  string
	Config func(m *corev3.HealthCheck) proto.Message
	// Fields is the ledger of that message; what it rejects or ignores is told to the
	// user before New is called.
	Fields *ledger.Ledger
	// New compiles a message that Config returned. An error may be an xds.Problem, or
	// several, with paths below the message.
	New func(m proto.Message) (Checker, error)
}

// A Compiler compiles the health_checks of clusters.
type Compiler struct {
	Factories []Factory
	Files     *logfile.Set
	*Options
}

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

type compiler struct {
	*Compiler
	problems []xds.Problem
}

// Compile returns what makes the checks of a cluster, and tells what is wrong with them
// or has no effect; it implements upstream.Context.HealthChecks. What the messages' own
// rules refuse is for the caller to tell.
func (c *Compiler) Compile(list []*corev3.HealthCheck, _ *upstream.Settings) (upstream.NewHealthChecks, []xds.Problem) {
	k := &compiler{Compiler: c}
	var configs []*Config
	names := map[string]bool{}
	for i, m := range list {
		path := fmt.Sprintf("health_checks[%d]", i)
		if m.GetName() == "" && len(list) > 1 { // Older Envoys knew no names, and took several.
			m = proto.CloneOf(m)
			m.Name = strconv.Itoa(i)
		}
		if names[m.GetName()] {
			k.fail(path+".name", fmt.Sprintf("%q is there twice", m.GetName()), "choose another name")
		}
		names[m.GetName()] = true
		configs = append(configs, k.one(path, m))
	}
	if xds.HasErrors(k.problems) {
		return nil, k.problems
	}
	return func(cl *upstream.Cluster, scope *stats.Scope, checked func()) upstream.HealthChecks {
		return New(cl, configs, scope, c.Options, checked)
	}, k.problems
}

func (k *compiler) one(path string, m *corev3.HealthCheck) *Config {
	k.problems = append(k.problems, supported.Check(m, path)...)
	interval := m.GetInterval().AsDuration()
	unhealthy := duration(m.GetUnhealthyInterval(), interval)
	quiet := duration(m.GetNoTrafficInterval(), time.Minute)
	c := &Config{
		Name: m.GetName(), Timeout: m.GetTimeout().AsDuration(),
		Interval: interval, Unhealthy: unhealthy,
		UnhealthyEdge: duration(m.GetUnhealthyEdgeInterval(), unhealthy), HealthyEdge: duration(m.GetHealthyEdgeInterval(), interval),
		NoTraffic: quiet, NoTrafficHealthy: duration(m.GetNoTrafficHealthyInterval(), quiet),
		InitialJitter: m.GetInitialJitter().AsDuration(), Jitter: m.GetIntervalJitter().AsDuration(), JitterPercent: m.GetIntervalJitterPercent(),
		UnhealthyThreshold: m.GetUnhealthyThreshold().GetValue(), HealthyThreshold: m.GetHealthyThreshold().GetValue(),
		Reuse:       m.GetReuseConnection() == nil || m.GetReuseConnection().GetValue(),
		LogFailures: m.GetAlwaysLogHealthCheckFailures(), LogSuccesses: m.GetAlwaysLogHealthCheckSuccess(),
		ALPN: m.GetTlsOptions().GetAlpnProtocols(),
	}
	if p := m.GetAltPort(); p != nil {
		if c.AltPort = uint16(p.GetValue()); p.GetValue() == 0 || p.GetValue() > 65535 {
			k.fail(path+".alt_port", "is no port", "give 1 to 65535")
		}
	}
	if s := m.GetTransportSocketMatchCriteria(); s != nil {
		c.Match = s.AsMap()
	}
	c.Events = k.sinks(path, m)
	k.checker(path, m, c)
	return c
}

// checker compiles how the hosts are asked.
func (k *compiler) checker(path string, m *corev3.HealthCheck, c *Config) {
	if m.GetCustomHealthCheck() != nil {
		return // The ledger has said so.
	}
	for i := range k.Factories {
		f := &k.Factories[i]
		cfg := f.Config(m)
		if cfg == nil {
			continue
		}
		at := path + "." + f.Field
		k.problems = append(k.problems, f.Fields.Check(cfg, at)...)
		checker, err := f.New(cfg)
		if err != nil {
			k.failErr(at, err)
		}
		c.Kind, c.Checker = f.Kind, checker
		return
	}
	k.fail(path, "names no way to ask that is supported", "give http_health_check, grpc_health_check or tcp_health_check")
}

// failErr tells an error, which may be an xds.Problem, or several, with paths below path.
func (k *compiler) failErr(path string, err error) {
	var many interface{ Unwrap() []error }
	var p xds.Problem
	switch {
	case errors.As(err, &many):
		for _, err := range many.Unwrap() {
			k.failErr(path, err)
		}
	case errors.As(err, &p):
		if p.Path != "" {
			path += "." + p.Path
		}
		k.fail(path, p.Reason, p.Remedy)
	default:
		k.fail(path, err.Error(), "")
	}
}

// ParsePayload compiles a payload: text is hexadecimal digits, binary is bytes as they are.
func ParsePayload(field string, list ...*corev3.HealthCheck_Payload) (Payload, error) {
	var out Payload
	for i, p := range list {
		part := p.GetBinary()
		if t := p.GetText(); t != "" {
			var err error
			if part, err = unhex(t); err != nil {
				return nil, xds.Problem{
					Severity: xds.Error, Path: fmt.Sprintf("%s[%d].text", field, i), Reason: err.Error(),
					Remedy: "write each byte as two hexadecimal digits: \"PING\" is 50494e47",
				}
			}
		}
		if len(part) == 0 {
			return nil, xds.Problem{Severity: xds.Error, Path: fmt.Sprintf("%s[%d]", field, i), Reason: "is empty", Remedy: "remove it, or give bytes"}
		}
		out = append(out, part)
	}
	return out, nil
}

func duration(d *durationpb.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return d.AsDuration()
}
