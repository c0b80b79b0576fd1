// SPDX-License-Identifier: Apache-2.0

package hcm

import (
	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/stream"
)

// localReplies is Envoy's LocalReplyConfig: how replies made here look.
type localReplies struct {
	mappers []replyMapper
	format  *format.Format // nil: the body as it is
}

// replyMapper changes the replies that its filter takes.
type replyMapper struct {
	filter  accesslog.Filter
	status  int            // 0 keeps it
	body    *string        // nil keeps it
	format  *format.Format // nil: that of the whole configuration
	headers *route.Headers
}

// Localise changes a reply made here as local_reply_config asks.
func (a *active) Localise(s *stream.Stream) {
	cfg := a.conn.m.cfg.replies
	if cfg == nil {
		return
	}
	f := cfg.format
	for i := range cfg.mappers {
		m := &cfg.mappers[i]
		if m.filter != nil && !m.filter(&s.Info, accesslog.DownstreamEnd) {
			continue
		}
		m.apply(s)
		if m.format != nil {
			f = m.format
		}
		break
	}
	if f == nil {
		return
	}
	s.SetLocalBody(func(dst, old []byte) []byte {
		s.Info.LocalReplyBody = old
		return f.AppendTo(dst, &s.Info)
	})
	if len(s.LocalBody()) > 0 {
		s.Response.Header.Set(header.ContentType, f.ContentType())
	}
}

func (m *replyMapper) apply(s *stream.Stream) {
	if m.status != 0 {
		s.Info.Status = m.status
		s.Response.Header.SetInt(header.Status, int64(m.status))
	}
	if m.body != nil {
		s.SetLocalBody(func(dst, _ []byte) []byte { return append(dst, *m.body...) })
	}
	m.headers.Apply(s.Response.Header, &s.Info)
}
