// SPDX-License-Identifier: Apache-2.0

package extproc

import (
	"fmt"
	"net/http"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/upstream/call"
)

// askHTTP has a processor of HTTP see a head: a message is a request, in JSON, and the
// answer its response.
func (d *side) askHTTP(end bool) error {
	x := d.x
	if !d.mode.headers {
		d.finish()
		return nil
	}
	q := &question{kind: headers, request: d.request, fields: d.m.Header, end: end}
	d.complete(q)
	k := x.c.http.Begin(http.MethodPost, []byte(x.c.http.Service().Path))
	defer k.End()
	k.Tell(&x.s.Info)
	k.Trace(x.s.Span)
	k.Request.Set(header.ContentType, "application/json")
	k.Body = x.c.appendJSON(k.Room(), q)
	k.Request.SetInt(header.ContentLength, int64(len(k.Body)))
	x.stats.MessagesSent.Inc()
	d.awaitHead, d.asked = true, x.loop.Now()
	err := k.Do(x.loop.Task())
	switch {
	case err != nil && call.Abandoned(err):
		return err
	case err == nil && k.Status != http.StatusOK:
		x.stats.HTTPNotOK.Inc()
		err = fmt.Errorf("the service answered with status %d", k.Status)
	}
	var a *answer
	if err == nil {
		a, err = parseJSON(k.Content)
	}
	if err != nil {
		x.stats.StreamsFailed.Inc()
		x.f.log.Debug("the external processor gave no answer", "filter", x.f.name, "reason", err)
		x.broken(x.c.statusOnError, "ext_proc_error_HTTP_ERROR")
	} else {
		x.take(a)
	}
	if x.fail != nil {
		return x.fail
	}
	if !x.over {
		d.finish()
	}
	return nil
}
