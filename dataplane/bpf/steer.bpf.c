// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * The XDP program of an AF_XDP port: frames go to a socket of the switch on the queue they arrived on (a frame of one queue
 * cannot reach another's socket): the one of the pool that their destination address and VLAN belong to, else the queue's
 * anchor. What the operator's pass filter names, and what arrives on a queue without a socket, goes on to the kernel.
 *
 * Trust: every byte of the frame is the wire's; each header is bounds-checked before it is read (the verifier insists).
 * Rules are constants, set before loading, so that an empty filter costs nothing: the verifier removes the code.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_RULES 16
#define MAX_TAGS 2
#define FRAGMENT_OFFSET 0x1fff
#define VLAN_ID 0x0fff

/* Written by filter.rs as 12 bytes; keep both in step. */
enum { RULE_DL_TYPE = 1, RULE_TP_DST = 2, RULE_DL_DST = 3 };
struct rule {
	__u8 kind;
	__u8 nw_proto;
	__be16 value; /* EtherType or destination port */
	__u8 dl_dst[ETH_ALEN];
	__u8 unused[2];
};

const volatile __u32 rule_count = 0;
const volatile struct rule rules[MAX_RULES] = {};

/* Sockets per queue: the anchor is the first, then one per pool. Written before loading, program.rs says how many. */
const volatile __u32 slots = 1;

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1); /* set to queues x slots before loading */
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Written by program.rs as 8 bytes; keep both in step. */
struct destination {
	__u8 mac[ETH_ALEN];
	__u16 vlan; /* of the outermost tag; 0 without one */
};

struct table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct destination);
	__type(value, __u32);
} no_table SEC(".maps"); /* an example of one: for a mere declaration clang describes only its name */

/*
 * Which destination belongs to which slot. A table is complete before it is put here and never changed after: a change is
 * one new table, so no frame is judged by half of it, and the kernel returns from putting it here only when no program
 * that began with the old one still runs.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct table);
} tables SEC(".maps");

struct tag {
	__be16 tci;
	__be16 dl_type;
};

struct fields {
	const __u8 *dl_dst;
	__be16 dl_type;
	__be16 tp_dst;
	__u8 nw_proto; /* 0 when the frame has no TCP or UDP port to look at */
};

static __always_inline void parse_port(void *l4, void *end, __u8 nw_proto, struct fields *fields)
{
	__be16 *ports = l4; /* source, destination: the same place in TCP and UDP */

	if ((nw_proto != IPPROTO_TCP && nw_proto != IPPROTO_UDP) || (void *)(ports + 2) > end)
		return;
	fields->nw_proto = nw_proto;
	fields->tp_dst = ports[1];
}

static __always_inline int parse(void *data, void *end, struct fields *fields)
{
	struct ethhdr *eth = data;
	void *next = eth + 1;

	if (next > end)
		return -1;
	fields->dl_dst = eth->h_dest;
	fields->dl_type = eth->h_proto;
	for (int i = 0; i < MAX_TAGS; i++) {
		struct tag *tag = next;

		if (fields->dl_type != bpf_htons(ETH_P_8021Q) && fields->dl_type != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > end)
			return -1;
		fields->dl_type = tag->dl_type;
		next = tag + 1;
	}
	if (fields->dl_type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = next;

		if ((void *)(ip + 1) > end || ip->ihl < 5 || (ip->frag_off & bpf_htons(FRAGMENT_OFFSET)))
			return 0;
		parse_port(next + ip->ihl * 4, end, ip->protocol, fields);
	} else if (fields->dl_type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip6 = next;

		if ((void *)(ip6 + 1) <= end)
			parse_port(ip6 + 1, end, ip6->nexthdr, fields);
	}
	return 0;
}

static __always_inline int same_mac(const __u8 *a, const volatile __u8 *b)
{
	__u8 difference = 0;

	for (int i = 0; i < ETH_ALEN; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

static __always_inline int is_for_kernel(void *data, void *end)
{
	struct fields fields = {};

	if (parse(data, end, &fields) < 0)
		return 0;
	for (__u32 i = 0; i < MAX_RULES && i < rule_count; i++) {
		const volatile struct rule *rule = &rules[i];

		switch (rule->kind) {
		case RULE_DL_TYPE:
			if (rule->value == fields.dl_type)
				return 1;
			break;
		case RULE_TP_DST:
			if (rule->nw_proto == fields.nw_proto && rule->value == fields.tp_dst)
				return 1;
			break;
		case RULE_DL_DST:
			if (same_mac(fields.dl_dst, rule->dl_dst))
				return 1;
			break;
		}
	}
	return 0;
}

static __always_inline __u32 slot_of(void *data, void *end)
{
	struct destination destination = {};
	struct ethhdr *eth = data;
	struct tag *tag = (void *)(eth + 1);
	__u32 only = 0, *slot;
	void *table = bpf_map_lookup_elem(&tables, &only);

	if (!table || (void *)(eth + 1) > end || (eth->h_dest[0] & 1))
		return 0;
	__builtin_memcpy(destination.mac, eth->h_dest, ETH_ALEN);
	if (eth->h_proto == bpf_htons(ETH_P_8021Q) || eth->h_proto == bpf_htons(ETH_P_8021AD)) {
		if ((void *)(tag + 1) > end)
			return 0;
		destination.vlan = bpf_ntohs(tag->tci) & VLAN_ID;
	}
	slot = bpf_map_lookup_elem(table, &destination);
	return slot ? *slot : 0;
}

SEC("xdp.frags")
int steer(struct xdp_md *context)
{
	void *data = (void *)(long)context->data, *end = (void *)(long)context->data_end;
	__u32 anchor = context->rx_queue_index * slots, slot;

	if (rule_count > 0 && is_for_kernel(data, end))
		return XDP_PASS;
	slot = slot_of(data, end);
	/* A slot may be without a socket on this queue. */
	if (slot && bpf_redirect_map(&sockets, anchor + slot, XDP_PASS) == XDP_REDIRECT)
		return XDP_REDIRECT;
	return bpf_redirect_map(&sockets, anchor, XDP_PASS);
}

char _license[] SEC("license") = "GPL";
