// SPDX-License-Identifier: Apache-2.0

package upstream

import "weir.dev/weir/proxy/codec/h1"

// codec returns the options for parsing responses.
func (o *HTTPOptions) codec() h1.Options {
	names := h1.LowerCase
	if o.HTTP1.KeyFormat == KeyProperCase {
		names = h1.ProperCase
	}
	return h1.Options{
		Case:               names,
		MaxHeadBytes:       int(o.MaxResponseHeadersKB) << 10,
		MaxHeaders:         int(o.MaxHeaders),
		EnableTrailers:     o.HTTP1.Trailers,
		AllowChunkedLength: o.HTTP1.AllowChunkedLength,
		AllowCustomMethods: true,
		PreserveCase:       o.HTTP1.KeyFormat == KeyPreserveCase,
	}
}
