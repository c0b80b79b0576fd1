// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"math"

	"weir.dev/weir/proxy/codec/h2/frame"
)

// protocolWindow is the window of streams and connections before SETTINGS.
const protocolWindow = frame.DefaultWindow

// peerSettings are what the peer has announced.
type peerSettings struct {
	window  int64
	streams uint32
	connect bool
}

func defaultPeer() peerSettings {
	return peerSettings{window: frame.DefaultWindow, streams: frame.MaxWindow}
}

// pendingSettings is how far the exchange of settings has come.
type pendingSettings struct {
	sent     bool
	received bool // the peer's first
	acked    bool // ours
}

// sendSettings appends the connection's first frames: for a client the preface,
// SETTINGS, and the rest of the connection's window.
func (c *conn) sendSettings() {
	if c.settings.sent {
		return
	}
	c.settings.sent = true
	l := &c.lim
	var list [8]frame.Setting
	s := list[:0]
	if l.HPACKTableSize != defaultTableSize {
		s = append(s, frame.Setting{ID: frame.HeaderTableSize, Value: l.HPACKTableSize})
	}
	if c.client {
		s = append(s, frame.Setting{ID: frame.EnablePush, Value: 0})
	}
	s = append(s, frame.Setting{ID: frame.MaxConcurrentStreams, Value: l.MaxConcurrentStreams},
		frame.Setting{ID: frame.InitialWindowSize, Value: l.streamWindow})
	if l.MaxFrameSize != frame.MinMaxFrameSize {
		s = append(s, frame.Setting{ID: frame.MaxFrameSize, Value: l.MaxFrameSize})
	}
	if l.AllowConnect && !c.client {
		s = append(s, frame.Setting{ID: frame.EnableConnectProtocol, Value: 1})
	}
	for _, x := range l.CustomSettings {
		s = append(s, frame.Setting{ID: frame.SettingID(x.ID), Value: x.Value})
	}
	b := c.out.reserve(len(frame.Preface) + 2*frame.HeaderLen + 6*len(s) + 4)
	if c.client {
		b = append(b, frame.Preface...)
	}
	b = frame.AppendSettings(b, s...)
	if l.connWindow > protocolWindow {
		b = frame.AppendWindowUpdate(b, 0, l.connWindow-protocolWindow)
	}
	c.out.commit(b)
	c.kick()
}

// settingsFrame applies the peer's settings in their order and acknowledges them.
func (c *conn) settingsFrame(h frame.Header, p []byte) {
	if e := frame.CheckSettings(h, p); e != nil {
		c.failFrame(h, e)
		return
	}
	if h.Flags.Has(frame.Ack) {
		c.settingsAcked()
		return
	}
	if !c.guard.settings() {
		return
	}
	if !c.settings.received {
		c.peer.streams = math.MaxUint32 // RFC 9113 §6.5.2: there is no limit unless one is told.
	}
	if !c.applySettings(p) {
		return
	}
	c.settings.received = true
	b := c.out.reserve(frame.HeaderLen)
	c.out.commit(frame.AppendSettingsAck(b))
	c.control()
	if c.err == nil {
		c.role.settled()
	}
}

// settingsAcked makes what was announced binding where that could not be at once.
func (c *conn) settingsAcked() {
	if c.settings.acked || !c.settings.sent {
		c.guard.spend(&c.st.SettingsFlood, errSettings)
		return
	}
	c.settings.acked = true
	if c.lim.HPACKTableSize < defaultTableSize {
		c.dec.SetTableSize(c.lim.HPACKTableSize)
	}
}

// resizeWindows applies SETTINGS_INITIAL_WINDOW_SIZE to the streams there are (RFC
// 9113 §6.9.2); windows may become negative.
func (c *conn) resizeWindows(v int64) bool {
	delta := v - c.peer.window
	c.peer.window = v
	if delta == 0 {
		return true
	}
	ok := true
	c.table.update(func(s *exchange) bool {
		s.sendWindow += delta
		ok = s.sendWindow <= frame.MaxWindow
		return ok
	})
	if !ok {
		c.fail(errOverflow)
		return false
	}
	if delta > 0 {
		c.table.update(func(s *exchange) bool { s.windowOpen(); return true })
	}
	return true
}

// applySettings takes the peer's settings in their order. It returns false if they
// end the connection.
func (c *conn) applySettings(p []byte) bool {
	for id, v := range frame.AllSettings(p) {
		switch id {
		case frame.HeaderTableSize:
			c.enc.SetPeerTableSize(v)
		case frame.MaxConcurrentStreams:
			c.peer.streams = v
		case frame.InitialWindowSize:
			if !c.resizeWindows(int64(v)) {
				return false
			}
		case frame.EnablePush:
			// RFC 9113 §6.5.2: a server must not send anything but 0.
			if c.client && v != 0 {
				c.fail(errPushSetting)
				return false
			}
		case frame.EnableConnectProtocol:
			// RFC 8441 §3: it is not taken back.
			if c.peer.connect && v == 0 {
				c.fail(errConnectSetting)
				return false
			}
			c.peer.connect = v == 1
		}
	}
	return true
}
