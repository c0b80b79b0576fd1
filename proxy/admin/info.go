// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"math"
	"net/http"
	"runtime/metrics"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// serveReady is /ready: 200 only when the proxy is live.
func (a *Admin) serveReady(w *answer, _ *http.Request) {
	s := a.server.State()
	if s != Live {
		w.status = http.StatusServiceUnavailable
	}
	w.text("%s\n", s)
}

func (a *Admin) serveHotRestartVersion(w *answer, _ *http.Request) {
	w.text("%s", a.server.Info().HotRestartVersion)
}

func (a *Admin) serveServerInfo(w *answer, _ *http.Request) {
	info := a.server.Info()
	since := func(t time.Time) *durationpb.Duration {
		return durationpb.New(max(0, time.Since(t)).Truncate(time.Second))
	}
	first := info.FirstStarted
	if first.IsZero() {
		first = info.Started
	}
	options := info.Options
	if options.GetConfigYaml() != "" {
		// It is a configuration as text, in which no field says what is secret.
		options = proto.CloneOf(options)
		options.ConfigYaml = redacted
	}
	w.message(&adminv3.ServerInfo{
		Version: info.Version, State: adminv3.ServerInfo_State(a.server.State()), HotRestartVersion: info.HotRestartVersion,
		UptimeCurrentEpoch: since(info.Started), UptimeAllEpochs: since(first),
		CommandLineOptions: options, Node: info.Node,
	}, true)
}

// serveMemory is /memory. Envoy's words are tcmalloc's; here they mean: allocated, bytes of live and not yet swept objects;
// heap_size, what the heap holds from the system; pageheap_unmapped, what it gave back; pageheap_free, what it holds unused;
// total_thread_cache, the allocator's caches; total_physical_bytes, all that Go holds from the system.
func (a *Admin) serveMemory(w *answer, _ *http.Request) {
	s := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/metadata/mcache/inuse:bytes"},
		{Name: "/memory/classes/total:bytes"},
	}
	metrics.Read(s)
	v := func(i int) uint64 {
		if s[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return s[i].Value.Uint64()
	}
	w.message(&adminv3.Memory{
		Allocated: v(0), HeapSize: v(0) + v(1) + v(2), PageheapUnmapped: v(3), PageheapFree: v(2),
		TotalThreadCache: v(4), TotalPhysicalBytes: v(5) - v(3),
	}, true)
}

func (a *Admin) serveCerts(w *answer, _ *http.Request) {
	out := &adminv3.Certificates{}
	for _, c := range a.server.Certs() {
		m := &adminv3.Certificate{}
		for _, cert := range c.CA {
			m.CaCert = append(m.CaCert, cert.message())
		}
		for _, cert := range c.Chain {
			m.CertChain = append(m.CertChain, cert.message())
		}
		out.Certificates = append(out.Certificates, m)
	}
	w.message(out, true)
}

func (c Cert) message() *adminv3.CertificateDetails {
	out := &adminv3.CertificateDetails{Path: c.Path}
	if !c.OCSPExpiration.IsZero() {
		out.OcspDetails = &adminv3.CertificateDetails_OcspDetails{
			ValidFrom: timestamppb.New(c.OCSPValidFrom), Expiration: timestamppb.New(c.OCSPExpiration),
		}
	}
	x := c.X509
	if x == nil {
		return out
	}
	out.SerialNumber = x.SerialNumber.Text(16)
	out.ValidFrom, out.ExpirationTime = timestamppb.New(x.NotBefore), timestamppb.New(x.NotAfter)
	out.DaysUntilExpiration = uint64(math.Max(0, time.Until(x.NotAfter).Hours()/24))
	for _, n := range x.DNSNames {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Dns{Dns: n}})
	}
	for _, u := range x.URIs {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Uri{Uri: u.String()}})
	}
	for _, ip := range x.IPAddresses {
		out.SubjectAltNames = append(out.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_IpAddress{IpAddress: ip.String()}})
	}
	return out
}

// serveInitDump is /init_dump. The only mask Envoy documents is listener.
func (a *Admin) serveInitDump(w *answer, r *http.Request) {
	if m := cmp.Or(r.URL.Query().Get("mask"), "listener"); m != "listener" {
		w.fail(http.StatusBadRequest, "mask %q is not known; use mask=listener\n", m)
		return
	}
	out := &adminv3.UnreadyTargetsDumps{}
	for _, u := range a.server.Unready() {
		out.UnreadyTargetsDumps = append(out.UnreadyTargetsDumps, &adminv3.UnreadyTargetsDumps_UnreadyTargetsDump{
			Name: u.Name, TargetNames: u.Targets,
		})
	}
	w.message(out, false)
}
