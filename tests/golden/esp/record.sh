#!/bin/bash
# Records what a kernel's ESP looks like on a wire: the captures in this folder.
# record.sh OUT: as root, in a machine that may be thrown away, with nothing else in its kernel:
# needs ESP, Geneve, veth and bridge, iproute2, tcpdump, ping, python3. In OUT, for each case:
# CASE.pcap (tcpdump on the bridge), CASE.n1.xfrm (kept here as CASE.xfrm), CASE.ping.
set -u
OUT=$1
mkdir -p "$OUT"
MARK=f547560b000102030405060708090a0b
K256=0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fa0a1a2a3
K256B=0x202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3fb0b1b2b3
K128=0x000102030405060708090a0b0c0d0e0fa0a1a2a3
setup() {
  ip netns add n1; ip netns add n2
  ip link add br0 type bridge; ip link set br0 addrgenmode none up; for n in 1 2; do ip link add v$n netns n$n type veth peer name p$n; ip link set p$n addrgenmode none master br0 up; done
  for n in 1 2; do
    ip -n n$n link set lo up
    ip -n n$n link set v$n address 02:00:00:00:00:0$n
    ip -n n$n addr add 192.0.2.1$n/24 dev v$n
    ip -n n$n addr add 2001:db8::1$n/64 dev v$n nodad
    ip -n n$n link set v$n up
  done
  local f=$1
  if [ "$f" = 6 ]; then A=2001:db8::11; B=2001:db8::12; else A=192.0.2.11; B=192.0.2.12; fi
  ip -n n1 link add g0 type geneve id 5 remote $B; ip -n n2 link add g0 type geneve id 5 remote $A
  for n in 1 2; do
    ip -n n$n link set g0 address 0a:58:0a:80:0$n:03; ip -n n$n addr add 10.128.$n.3/16 dev g0; ip -n n$n link set g0 up
    ip -n n$n addr add fd00:10:128::$n/64 dev g0 nodad
  done
}
teardown() { ip link del p1; ip link del p2; ip link del br0; ip netns del n1; ip netns del n2; }
sa() { # extra-for-state mode algo...
  local mode=$1; shift
  for n in n1 n2; do
    ip -n $n xfrm state add src $A dst $B proto esp spi 0xc0000001 reqid 1 mode $mode "$@" || echo "state failed" >> $OUT/errors
  done
}
sb() {
  local mode=$1; shift
  for n in n1 n2; do
    ip -n $n xfrm state add src $B dst $A proto esp spi 0xc0000002 reqid 1 mode $mode "$@" || echo "state failed" >> $OUT/errors
  done
}
pol() {
  local mode=$1; local pl=32; [ "$A" = 2001:db8::11 ] && pl=128
  local tA="" tB=""; [ $mode = tunnel ] && { tA="src $A dst $B"; tB="src $B dst $A"; }
  ip -n n1 xfrm policy add src $A/$pl dst $B/$pl proto udp dport 6081 dir out tmpl $tA proto esp reqid 1 mode $mode
  ip -n n1 xfrm policy add src $B/$pl dst $A/$pl proto udp dport 6081 dir in tmpl $tB proto esp reqid 1 mode $mode
  ip -n n2 xfrm policy add src $B/$pl dst $A/$pl proto udp dport 6081 dir out tmpl $tB proto esp reqid 1 mode $mode
  ip -n n2 xfrm policy add src $A/$pl dst $B/$pl proto udp dport 6081 dir in tmpl $tA proto esp reqid 1 mode $mode
}
measure() { # name
  tcpdump -i br0 --immediate-mode -U -Z root -w $OUT/$1.pcap 2>$OUT/$1.tcpdump &
  local pid=$!
  for i in $(seq 60); do grep -q listening $OUT/$1.tcpdump && break; sleep 0.05; done
  nsenter --net=/run/netns/n1 ping -c 2 -i 0.2 -s 32 -p $MARK -W 1 10.128.2.3 > $OUT/$1.ping 2>&1
  nsenter --net=/run/netns/n1 ping -c 1 -s 48 -p $MARK -W 1 fd00:10:128::2 >> $OUT/$1.ping 2>&1
  sleep 0.3; kill -INT $pid; wait $pid
  for n in n1 n2; do ip -n $n xfrm state > $OUT/$1.$n.xfrm; done
}
GCM="rfc4106(gcm(aes))"
ESN="replay-window 64 flag esn"
case_v4()    { setup 4; sa transport $ESN aead "$GCM" $K256 128; sb transport $ESN aead "$GCM" $K256B 128; pol transport; measure v4; teardown; }
case_hi()    { setup 4; sa transport replay-window 64 flag esn replay-oseq-hi 0x3 replay-seq-hi 0x3 aead "$GCM" $K256 128; sb transport replay-window 64 flag esn replay-oseq 0xfffffffe replay-oseq-hi 0x7 replay-seq 0xfffffffe replay-seq-hi 0x7 aead "$GCM" $K256B 128; pol transport; measure esn-high; teardown; }
case_natt()  { setup 4; sa transport $ESN aead "$GCM" $K256 128 encap espinudp 4500 4500 0.0.0.0; sb transport $ESN aead "$GCM" $K256B 128 encap espinudp 4500 4500 0.0.0.0; pol transport
  for n in 1 2; do nsenter --net=/run/netns/n$n python3 -c "
import socket,time
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.setsockopt(17,100,2); s.bind(('0.0.0.0',4500)); time.sleep(30)" & done; sleep 1; measure nat-t; teardown; }
case_v6()    { setup 6; sa transport $ESN aead "$GCM" $K256 128; sb transport $ESN aead "$GCM" $K256B 128; pol transport; measure v6; teardown; }
case_tun()   { setup 4; sa tunnel $ESN aead "$GCM" $K256 128; sb tunnel $ESN aead "$GCM" $K256B 128; pol tunnel; measure tunnel; teardown; }
case_128()   { setup 4; sa transport aead "$GCM" $K128 128; sb transport aead "$GCM" $K128 128; pol transport; measure aes128; teardown; }
case_icv8()  { setup 4; sa transport $ESN aead "$GCM" $K256 64; sb transport $ESN aead "$GCM" $K256B 64; pol transport; measure icv8; teardown; }
case_cbc()   { setup 4; for f in sa sb; do $f transport enc 'cbc(aes)' ${K256:0:66} auth-trunc 'hmac(sha256)' ${K256B:0:66} 128; done; pol transport; measure cbc; teardown; }
case_null()  { setup 4; for f in sa sb; do $f transport enc 'ecb(cipher_null)' '' auth-trunc 'hmac(sha256)' ${K256B:0:66} 128; done; pol transport; measure null; teardown; }
case_clear() { setup 4; measure clear; teardown; }
for c in clear v4 hi natt v6 tun 128 icv8 cbc null; do echo "case $c"; case_$c; done
