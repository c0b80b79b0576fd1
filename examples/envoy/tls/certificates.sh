#!/bin/sh
# Makes a CA and certificates for the example, valid for 30 days, in the folder certs of DIR (default: this folder).
set -eu
mkdir -p "${1:-$(dirname "$0")}/certs"
cd "${1:-$(dirname "$0")}/certs"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
	-subj '/CN=Example CA' -keyout ca.key -out ca.crt

# issue NAME ALTERNATIVE_NAME KEY...: NAME.crt and NAME.key
issue() {
	name=$1 san=$2
	shift 2
	openssl req -newkey "$@" -nodes -subj "/CN=$name" -addext "subjectAltName=$san" -keyout "$name.key" -out "$name.csr"
	openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -days 30 -out "$name.crt"
	rm "$name.csr"
}

issue www DNS:www.example.com ec -pkeyopt ec_paramgen_curve:P-256
issue shop DNS:shop.example.com rsa:2048
issue api DNS:api.example.com ec -pkeyopt ec_paramgen_curve:P-256
issue robot URI:spiffe://example.com/robot ec -pkeyopt ec_paramgen_curve:P-256
