// SPDX-License-Identifier: Apache-2.0

package upstream

import "weir.dev/weir/proxy/codec/h1"

// codec returns the options for parsing responses.
func (o *HTTPOptions) codec() h1.Options {
	return h1.Options{
		MaxHeadBytes:       int(o.MaxResponseHeadersKB) << 10,
		MaxHeaders:         int(o.MaxHeaders),
		EnableTrailers:     o.HTTP1.Trailers,
		AllowChunkedLength: o.HTTP1.AllowChunkedLength,
		AllowCustomMethods: true,
		PreserveCase:       o.HTTP1.KeyFormat == KeyPreserveCase,
	}
}

// Case says how request field names are written.
func (c *Cluster) Case() h1.Case {
	if c.HTTP.HTTP1.KeyFormat == KeyProperCase {
		return h1.ProperCase
	}
	return h1.LowerCase
}
