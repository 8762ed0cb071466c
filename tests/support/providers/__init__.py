"""FCM, APNs and a Web Push service on loopback: the real protocols, checked strictly, and trouble when asked for."""
