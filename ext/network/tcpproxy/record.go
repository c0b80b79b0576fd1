// SPDX-License-Identifier: Apache-2.0

package tcpproxy

import (
	"crypto/rand"
	"encoding/hex"
	"time"

	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/streaminfo"
)

// note keeps why a transport failed, for the log.
func (s *session) note(err error) { s.failure = err.Error() }

// record writes the session to the access logs.
func (s *session) record(typ accesslog.Type) {
	logs := s.w.p.logs
	if len(logs) == 0 {
		return
	}
	info := s.describe()
	for _, l := range logs {
		l.Log(s.w.loop.ID(), info, typ)
	}
	*info = streaminfo.Stream{}
}

// describe tells what is known of the session. The memory belongs to the loop.
func (s *session) describe() *streaminfo.Stream {
	i, c := &s.w.info, s.conn.Info
	if s.id == "" {
		s.id = newID()
	}
	sent, received := s.bytes()
	*i = streaminfo.Stream{
		Conn: c, Start: c.Start, Duration: time.Since(c.Start), Remote: c.Remote, ID: s.id, Flags: s.flags,
		BodyReceived: sent, BodySent: received, WireReceived: sent, WireSent: received,
		Attempts: int(s.attempts), Metadata: c.Metadata, FilterState: c.FilterState,
	}
	if s.cluster != nil {
		cl := s.cluster.Cluster()
		i.ClusterName, i.ClusterStatName, i.ClusterMetadata = cl.Name, cl.AltStatName, cl.Metadata
	}
	s.describeUpstream(&i.Upstream)
	if s.up != nil || s.tunnel != nil {
		// Loop times are nanoseconds since the process began; the session's own
		// began is its zero.
		i.Timing.UpstreamConnect = max(s.dialled-s.begun, 1)
		i.Timing.UpstreamConnected = max(s.connected-s.begun, 1)
		i.Upstream.PoolReady = time.Duration(s.connected - s.dialled)
	}
	return i
}

func (s *session) describeUpstream(u *streaminfo.Upstream) {
	for _, h := range s.failed {
		u.HostsAttempted = append(u.HostsAttempted, h.Address)
		u.HostNamesAttempted = append(u.HostNamesAttempted, h.Hostname)
	}
	u.FailureReason = s.failure
	h := s.host
	if h == nil {
		return
	}
	u.HostsAttempted = append(u.HostsAttempted, h.Address)
	u.HostNamesAttempted = append(u.HostNamesAttempted, h.Hostname)
	u.HostName, u.HostAddress, u.HostMetadata, u.Locality = h.Hostname, h.Address, h.Metadata, h.Locality
	var k *streaminfo.Connection
	switch {
	case s.up != nil:
		k = s.up.Info
	case s.tunnel != nil:
		k, u.Protocol = &s.tunnel.info, s.tunnel.protocol
	default:
		return
	}
	u.Local, u.Remote, u.ConnectionID, u.TLS, u.ServerName = k.Local, k.Remote, k.ID, k.TLS, k.ServerName
	u.WireSent, u.WireReceived = s.bytes()
	if s.flags&streaminfo.UpstreamRemoteReset != 0 {
		u.CloseType = "RemoteReset"
	}
}

// bytes returns how many bytes were delivered to the upstream and to the client.
func (s *session) bytes() (sent, received uint64) {
	if n := s.tunnel; n != nil && n.far == nil {
		return n.sent, n.received
	}
	return s.pair.Bytes()
}

// newID is a random UUID (RFC 9562 version 4), as %STREAM_ID% prints it.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	out := hex.AppendEncode(make([]byte, 0, 36), b[:4])
	for _, part := range [][]byte{b[4:6], b[6:8], b[8:10], b[10:]} {
		out = hex.AppendEncode(append(out, '-'), part)
	}
	return string(out)
}
