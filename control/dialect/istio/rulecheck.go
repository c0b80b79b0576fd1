// SPDX-License-Identifier: Apache-2.0

package istio

import (
	"fmt"
	"slices"

	istiov1 "weir.dev/weir/control/api/istio/v1"
	"weir.dev/weir/control/backend"
	"weir.dev/weir/control/graph"

	"k8s.io/apimachinery/pkg/labels"
)

// rulecheck gathers what is wrong with a DestinationRule.
type rulecheck struct{ problems, notes []graph.Problem }

func (r *rulecheck) bad(path, reason, format string, args ...any) {
	r.problems = append(r.problems, graph.Problemf(path, reason, format, args...))
}

func (r *rulecheck) note(path, format string, args ...any) {
	r.notes = append(r.notes, graph.Problemf(path, reasonUnsupported, format, args...))
}

// checkRule finds what drops a DestinationRule, and what of it has no effect.
func checkRule(o *istiov1.DestinationRule) (bad, notes []graph.Problem) {
	r := &rulecheck{}
	s := &o.Spec
	if !validHost(s.Host) {
		r.bad("spec.host", reasonInvalid, "%q is not the name of a host", s.Host)
	}
	r.policy("spec.trafficPolicy", s.TrafficPolicy, nil)
	seen := map[string]bool{}
	for i, sub := range s.Subsets {
		at := fmt.Sprintf("spec.subsets[%d]", i)
		switch {
		case sub.Name == "":
			r.bad(at+".name", reasonInvalid, "is missing")
		case seen[sub.Name]:
			r.bad(at+".name", reasonInvalid, "%s stands twice", sub.Name)
		}
		seen[sub.Name] = true
		if _, err := labels.Parse(backend.Subset(sub.Labels)); err != nil {
			r.bad(at+".labels", reasonInvalid, "no Pod can have them: %v", err)
		}
		r.policy(at+".trafficPolicy", sub.TrafficPolicy, s.TrafficPolicy)
	}
	for i, e := range s.ExportTo {
		if len(s.ExportTo) > 1 && (e == "*" || e == ".") {
			r.bad(fmt.Sprintf("spec.exportTo[%d]", i), reasonInvalid, "%q stands alone, or not at all", e)
		}
	}
	if s.WorkloadSelector != nil {
		r.note("spec.workloadSelector", "the object is left out: it is for proxies beside the workloads that it chooses, which are not served")
	}
	byPath(r.problems)
	byPath(r.notes)
	return r.problems, r.notes
}

// policy checks a policy. What it leaves out is as in whole, which may be nil.
func (r *rulecheck) policy(path string, p, whole *istiov1.TrafficPolicy) {
	if p == nil {
		return
	}
	r.balancer(path+".loadBalancer", p.LoadBalancer, p.OutlierDetection != nil || whole != nil && whole.OutlierDetection != nil)
	r.pool(path+".connectionPool", p.ConnectionPool)
	r.outliers(path+".outlierDetection", p.OutlierDetection)
	r.tls(path+".tls", p.TLS)
	if p.Tunnel != nil {
		r.note(path+".tunnel", "has no effect: connections are not made through other proxies yet")
	}
	if v := p.ProxyProtocol; v != nil && !slices.Contains([]string{"", "V1", "V2"}, v.Version) {
		r.bad(path+".proxyProtocol.version", reasonInvalid, "%q is not one of V1 and V2", v.Version)
	}
	if b := p.RetryBudget; b != nil {
		if b.Percent != nil && (*b.Percent < 0 || *b.Percent > 100) {
			r.bad(path+".retryBudget.percent", reasonInvalid, "is %v: a percentage is from 0 to 100", *b.Percent)
		}
		checkTime(path+".retryBudget.budgetInterval", b.BudgetInterval, r.bad)
		if duration(b.BudgetInterval) > 0 {
			r.note(path+".retryBudget.budgetInterval", "has no effect: requests that are going on count, and not those of a time before")
		}
	}
	seen := map[uint32]bool{}
	for i, s := range p.PortLevelSettings {
		at := fmt.Sprintf("%s.portLevelSettings[%d]", path, i)
		if s.Port == nil || s.Port.Number < 1 || s.Port.Number > 65535 {
			r.bad(at+".port.number", reasonInvalid, "is missing or no port")
			continue
		}
		if seen[s.Port.Number] {
			r.bad(at+".port.number", reasonInvalid, "%d stands twice", s.Port.Number)
		}
		seen[s.Port.Number] = true
		r.balancer(at+".loadBalancer", s.LoadBalancer, s.OutlierDetection != nil)
		r.pool(at+".connectionPool", s.ConnectionPool)
		r.outliers(at+".outlierDetection", s.OutlierDetection)
		r.tls(at+".tls", s.TLS)
	}
}

func (r *rulecheck) balancer(path string, l *istiov1.LoadBalancer, outliers bool) {
	if l == nil {
		return
	}
	known := []string{"", "UNSPECIFIED", "ROUND_ROBIN", "LEAST_REQUEST", "LEAST_CONN", "RANDOM", "PASSTHROUGH"}
	switch {
	case !slices.Contains(known, l.Simple):
		r.bad(path+".simple", reasonInvalid, "%q is not a balancer: there are ROUND_ROBIN, LEAST_REQUEST and RANDOM", l.Simple)
	case l.Simple == "PASSTHROUGH":
		r.note(path+".simple", "PASSTHROUGH leads to where connections were meant to go, which is a gateway itself: LEAST_REQUEST is used")
	case l.Simple != "" && l.ConsistentHash != nil:
		r.bad(path+".consistentHash", reasonInvalid, "simple is there, too: only one of them can be")
	}
	r.hash(path+".consistentHash", l.ConsistentHash)
	r.locality(path+".localityLbSetting", l.LocalityLbSetting, outliers)
	if l.ZoneAwareLbSetting != nil {
		r.note(path+".zoneAwareLbSetting", "has no effect, as it goes by how many proxies each zone has: use localityLbSetting")
	}
	checkTime(path+".warmupDurationSecs", l.WarmupDurationSecs, r.bad)
	if w := l.Warmup; w != nil {
		checkTime(path+".warmup.duration", w.Duration, r.bad)
		if w.Duration == "" {
			r.bad(path+".warmup.duration", reasonInvalid, "is missing")
		}
		if w.MinimumPercent != nil && (*w.MinimumPercent < 0 || *w.MinimumPercent > 100) {
			r.bad(path+".warmup.minimumPercent", reasonInvalid, "is %v: a percentage is from 0 to 100", *w.MinimumPercent)
		}
		if w.Aggression != nil && *w.Aggression < 1 {
			r.bad(path+".warmup.aggression", reasonInvalid, "is %v: at least 1", *w.Aggression)
		}
	}
	if (l.Warmup != nil || l.WarmupDurationSecs != "") && (l.ConsistentHash != nil || l.Simple == "RANDOM") {
		r.note(path+".warmup", "has no effect with this balancer: ROUND_ROBIN and LEAST_REQUEST know it")
	}
}

// maxRing is the most places that a ring may have.
const maxRing = 8 << 20

func (r *rulecheck) hash(path string, h *istiov1.ConsistentHash) {
	if h == nil {
		return
	}
	keys := 0
	for _, has := range []bool{h.HTTPHeaderName != "", h.HTTPCookie != nil, h.UseSourceIP, h.HTTPQueryParameterName != ""} {
		if has {
			keys++
		}
	}
	if keys != 1 {
		r.bad(path, reasonInvalid, "has not exactly one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName")
	}
	if c := h.HTTPCookie; c != nil {
		if c.Name == "" {
			r.bad(path+".httpCookie.name", reasonInvalid, "is missing")
		}
		if c.TTL != nil {
			checkTime(path+".httpCookie.ttl", *c.TTL, r.bad)
		}
	}
	if h.RingHash != nil && h.Maglev != nil {
		r.bad(path+".maglev", reasonInvalid, "ringHash is there, too: only one of them can be")
	}
	for field, n := range map[string]*uint64{"minimumRingSize": h.MinimumRingSize, "ringHash.minimumRingSize": ringSize(h)} {
		if n != nil && *n > maxRing {
			r.bad(path+"."+field, reasonInvalid, "is %d: at most %d", *n, maxRing)
		}
	}
	if n := tableSize(h); n != nil && (*n > 5000011 || !prime(*n)) {
		r.bad(path+".maglev.tableSize", reasonInvalid, "%d is not a prime number up to 5000011", *n)
	}
}

func ringSize(h *istiov1.ConsistentHash) *uint64 {
	if h.RingHash == nil {
		return nil
	}
	return h.RingHash.MinimumRingSize
}

func tableSize(h *istiov1.ConsistentHash) *uint64 {
	if h.Maglev == nil {
		return nil
	}
	return h.Maglev.TableSize
}

func prime(n uint64) bool {
	for i := uint64(2); i*i <= n; i++ {
		if n%i == 0 {
			return false
		}
	}
	return n > 1
}

func (r *rulecheck) pool(path string, p *istiov1.ConnectionPool) {
	if p == nil {
		return
	}
	if t := p.TCP; t != nil {
		r.count(path+".tcp.maxConnections", t.MaxConnections)
		checkTime(path+".tcp.connectTimeout", t.ConnectTimeout, r.bad)
		checkTime(path+".tcp.maxConnectionDuration", t.MaxConnectionDuration, r.bad)
		checkTime(path+".tcp.idleTimeout", t.IdleTimeout, r.bad)
		if k := t.TCPKeepalive; k != nil {
			checkTime(path+".tcp.tcpKeepalive.time", k.Time, r.bad)
			checkTime(path+".tcp.tcpKeepalive.interval", k.Interval, r.bad)
		}
	}
	h := p.HTTP
	if h == nil {
		return
	}
	for field, n := range map[string]int32{
		"http1MaxPendingRequests": h.HTTP1MaxPendingRequests, "http2MaxRequests": h.HTTP2MaxRequests,
		"maxRequestsPerConnection": h.MaxRequestsPerConnection, "maxRetries": h.MaxRetries, "maxConcurrentStreams": h.MaxConcurrentStreams,
	} {
		r.count(path+".http."+field, n)
	}
	checkTime(path+".http.idleTimeout", h.IdleTimeout, r.bad)
	if !slices.Contains([]string{"", "DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"}, h.H2UpgradePolicy) {
		r.bad(path+".http.h2UpgradePolicy", reasonInvalid, "%q is not one of DEFAULT, DO_NOT_UPGRADE and UPGRADE", h.H2UpgradePolicy)
	}
	if h.UseClientProtocol && h.H2UpgradePolicy == "UPGRADE" {
		r.bad(path+".http.useClientProtocol", reasonInvalid, "h2UpgradePolicy is UPGRADE: only one of them can be")
	}
	if k := h.HTTP2KeepAlive; k != nil {
		checkTime(path+".http.http2KeepAlive.interval", k.Interval, r.bad)
		checkTime(path+".http.http2KeepAlive.timeout", k.Timeout, r.bad)
	}
}

func (r *rulecheck) count(path string, n int32) {
	if n < 0 {
		r.bad(path, reasonInvalid, "is %d: a limit is not less than nothing", n)
	}
}

func (r *rulecheck) outliers(path string, o *istiov1.OutlierDetection) {
	if o == nil {
		return
	}
	r.count(path+".consecutiveErrors", o.ConsecutiveErrors)
	checkTime(path+".interval", o.Interval, r.bad)
	checkTime(path+".baseEjectionTime", o.BaseEjectionTime, r.bad)
	for field, n := range map[string]int32{"maxEjectionPercent": o.MaxEjectionPercent, "minHealthPercent": o.MinHealthPercent} {
		if n < 0 || n > 100 {
			r.bad(path+"."+field, reasonInvalid, "is %d: a percentage is from 0 to 100", n)
		}
	}
	for i, n := range o.OutlierDetectionHTTPErrorCodes {
		if n < 100 || n > 599 {
			r.bad(fmt.Sprintf("%s.outlierDetectionHttpErrorCodes[%d]", path, i), reasonInvalid, "is %d: statuses are from 100 to 599", n)
		}
	}
}

func (r *rulecheck) tls(path string, t *istiov1.ClientTLS) {
	if t == nil {
		return
	}
	switch t.Mode {
	case "", "DISABLE", modeSimple:
	case modeMutual:
		if t.CredentialName == "" && (t.ClientCertificate == "" || t.PrivateKey == "") {
			r.bad(path+".credentialName", reasonInvalid, "is missing: mode MUTUAL shows a certificate; name a Secret, or files in clientCertificate and privateKey")
		}
	case modeIstioMutual:
		if t.CredentialName+t.ClientCertificate+t.PrivateKey+t.CACertificates+t.CACrl != "" {
			r.bad(path+".mode", reasonInvalid, "ISTIO_MUTUAL has certificates of its own, of the Secret %s: name none, or use MUTUAL", meshCredential)
		}
		if t.InsecureSkipVerify != nil && *t.InsecureSkipVerify {
			r.note(path+".insecureSkipVerify", "has no effect: who answers in ISTIO_MUTUAL is verified")
		}
	default:
		r.bad(path+".mode", reasonInvalid, "%q is not a mode: there are DISABLE, SIMPLE, MUTUAL and ISTIO_MUTUAL", t.Mode)
	}
	if t.CredentialName != "" && (t.CACertificates != "" || t.ClientCertificate != "") {
		r.bad(path+".credentialName", reasonInvalid, "files are there, too: only one of them can be")
	}
}
