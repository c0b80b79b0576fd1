// SPDX-License-Identifier: Apache-2.0

package udpproxy

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/address"
	"weir.dev/weir/proxy/streaminfo"
)

// record is what a session's access log tells.
type record struct {
	id                   uint64
	uuid                 string // made for the first record
	start                time.Time
	rxBytes, rxDatagrams uint64
	txBytes, txDatagrams uint64
	txErrors             uint64
	localAddress         address.Addr
}

// periodic has records written while the session lasts, if that is asked for.
func (s *session) periodic() {
	if d := s.filter.config.flush; d > 0 && len(s.filter.logs) > 0 {
		s.flush.Set(int64(d))
	} else {
		s.flush.Stop()
	}
}

func (s *session) logPeriodic() {
	s.logAs(accesslog.UDPPeriodic)
	s.periodic()
}

func (s *session) logEnd() { s.logAs(accesslog.UDPSessionEnd) }

func (s *session) logAs(typ accesslog.Type) {
	if len(s.filter.logs) == 0 {
		return
	}
	info := s.stream()
	if typ == accesslog.UDPSessionEnd {
		info.Duration = time.Since(s.start)
	}
	for _, l := range s.filter.logs {
		l.Log(s.filter.shard, info, typ)
	}
}

// stream tells of the session as of a stream. What only UDP has is metadata, as in
// Envoy: udp.proxy.session.
func (s *session) stream() *streaminfo.Stream {
	if s.uuid == "" {
		s.uuid = newUUID()
	}
	if !s.localAddress.IsValid() {
		s.localAddress = s.up.LocalAddr()
	}
	cfg := s.filter.worker.Config()
	remote, local := address.IP(s.remote), address.IP(s.local)
	c := s.use.cluster
	return &streaminfo.Stream{
		Conn: &streaminfo.Connection{
			ID: s.id, Local: local, Remote: remote, DirectLocal: local, DirectRemote: remote, Start: s.start,
			ListenerName: s.filter.worker.Listener(), TrafficDirection: cfg.TrafficDirection, ListenerMetadata: cfg.Metadata,
		},
		Start: s.start, Remote: remote, ID: s.uuid,
		BodyReceived: s.rxBytes, BodySent: s.txBytes, WireReceived: s.rxBytes, WireSent: s.txBytes,
		ClusterName: c.Name, ClusterStatName: c.AltStatName, ClusterMetadata: c.Metadata,
		Upstream: streaminfo.Upstream{
			HostName: s.host.Hostname, HostAddress: s.host.Address, Remote: s.host.Address, Local: s.localAddress,
			HostMetadata: s.host.Metadata, Locality: s.host.Locality,
		},
		Metadata: streaminfo.Metadata{"udp.proxy.session": {
			"cluster_name":       c.Name,
			"bytes_sent":         float64(s.txBytes),
			"bytes_received":     float64(s.rxBytes),
			"errors_sent":        float64(s.txErrors),
			"datagrams_sent":     float64(s.txDatagrams),
			"datagrams_received": float64(s.rxDatagrams),
		}},
	}
}

// newUUID returns a random UUID (RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails.
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	t := hex.EncodeToString(b[:])
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:]
}

// logProxy writes the record of the whole proxy, when its configuration ends. What
// it tells is metadata: udp.proxy.proxy.
func (f *factory) logProxy(shard int) {
	if len(f.proxyLogs) == 0 {
		return
	}
	var sum struct{ txBytes, rxBytes, txErrors, rxErrors, tx, rx, noRoute, total, idle uint64 }
	for i := range f.stats.Len() {
		s := f.stats.At(i)
		sum.txBytes += s.TxBytes.Value()
		sum.rxBytes += s.RxBytes.Value()
		sum.txErrors += s.TxErrors.Value()
		sum.rxErrors += s.RxErrors.Value()
		sum.tx += s.TxDatagrams.Value()
		sum.rx += s.RxDatagrams.Value()
		sum.noRoute += s.NoRoute.Value()
		sum.total += s.Total.Value()
		sum.idle += s.IdleTimeout.Value()
	}
	now := time.Now()
	info := &streaminfo.Stream{
		Conn: &streaminfo.Connection{Start: f.begun}, Start: f.begun, Duration: now.Sub(f.begun),
		BodyReceived: sum.rxBytes, BodySent: sum.txBytes, WireReceived: sum.rxBytes, WireSent: sum.txBytes,
		Metadata: streaminfo.Metadata{"udp.proxy.proxy": {
			"bytes_sent":         float64(sum.txBytes),
			"bytes_received":     float64(sum.rxBytes),
			"errors_sent":        float64(sum.txErrors),
			"errors_received":    float64(sum.rxErrors),
			"datagrams_sent":     float64(sum.tx),
			"datagrams_received": float64(sum.rx),
			"no_route":           float64(sum.noRoute),
			"session_total":      float64(sum.total),
			"idle_timeout":       float64(sum.idle),
		}},
	}
	for _, l := range f.proxyLogs {
		l.Log(shard, info, accesslog.NotSet)
	}
}
