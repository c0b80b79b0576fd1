#!/bin/sh
# Makes a CA and a certificate for each end, valid for 30 days, in the folder certs of DIR (default: this folder).
set -eu
mkdir -p "${1:-$(dirname "$0")}/certs"
cd "${1:-$(dirname "$0")}/certs"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
	-subj '/CN=Example CA' -keyout ca.key -out ca.crt

for name in near far; do
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -addext "subjectAltName=DNS:$name.example" \
		-keyout "$name.key" -out "$name.csr"
	openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -days 30 -out "$name.crt"
	rm "$name.csr"
done
